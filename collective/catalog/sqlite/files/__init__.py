"""Files coming in and going out: uploads, and reads under a lease."""

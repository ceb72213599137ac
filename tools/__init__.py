"""What the project itself needs: nothing here is installed or imported by ``collective``."""

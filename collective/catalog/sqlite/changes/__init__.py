"""The newest changes of names, and those who wait for one."""

"""A whole member in a booted systemd: units, watchdog, reload, restarts and broken disks.  Slow: make test-systemd."""

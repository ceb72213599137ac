"""What every role's process shares: start, ready, drain, stop; logs, metrics, health; systemd."""

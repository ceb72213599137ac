"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Examples are bounded by count; how long one takes says more about the machine than about the code.
settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("suite")

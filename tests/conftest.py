"""What holds for every test."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Examples are bounded by count; how long one takes says more about the machine than about the code.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
    derandomize=bool(os.environ.get("CI")),  # a change is judged by what it changed
)
settings.load_profile("suite")

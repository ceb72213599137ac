"""Log set-up: structlog, readable on a terminal and JSON otherwise.

Every line carries what is bound in structlog's context variables, above all ``request_id``.  What
callers said may stand in any value, so on a terminal all of them are escaped (JSON does so itself).
Lines of libraries that use ``logging`` come out the same way.
"""

from __future__ import annotations

import logging
import warnings
from typing import TextIO

import structlog
from structlog.typing import Processor

from collective.core.terminal import escaped_log

_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
"""Without local variables: they hold keys, tickets and people's data."""
_QUIET = ("grpclib", "hpack", "h2", "asyncio")


def configure(level: str, stream: TextIO) -> None:
    """Send all logs of this process to ``stream`` from ``level`` (debug, info, ...) up."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Processor]
    if stream.isatty():
        last = [
            structlog.processors.format_exc_info,
            escaped_log,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    else:
        last = [_TRACEBACKS, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    # cryptography warns of odd certificates; strangers make them, and they are refused anyway.
    warnings.filterwarnings("ignore", module=r"cryptography\.|collective\.pki\.")
    logging.getLogger().handlers[:] = [handler]
    set_level(level)


def set_level(level: str) -> None:
    """Log from ``level`` (debug, info, ...) up from now on; loggers that were made already, too."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(threshold))
    logging.getLogger().setLevel(threshold)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))

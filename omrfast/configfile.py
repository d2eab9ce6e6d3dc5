# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the configuration is read from."""

from __future__ import annotations

from pathlib import Path

from omrfast.core.config import Config, ConfigError
from omrfast.core.document import parse_text

DEFAULT_CONFIG = "/etc/omrfast/omrfast.toml"


def load_config(path: str | None) -> Config:
    """Read ``path``; with None the default file if it exists, else the built-in defaults.

    Raises ConfigError when the file can't be read or its content can't be used.
    """
    name = path or DEFAULT_CONFIG
    try:
        text = Path(name).read_text("utf-8")
    except FileNotFoundError:
        if path is None:
            return Config()
        raise ConfigError(f"{name}: no such file; name another with --config") from None
    except OSError as error:
        raise ConfigError(f"{name}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: can't be read: {error}") from None
    return parse_text(text, name)

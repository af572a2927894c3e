"""The version of the distribution and of the plugin interface."""

from __future__ import annotations

__version__ = "0.1.0"
API_VERSION = "1.0"
"""A plugin's registry.yaml names the major version that it was written for."""

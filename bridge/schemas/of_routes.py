"""The schemas of a configuration's routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.config import Config
from bridge.config import Schema as Settings
from bridge.schemas.files import Sized, load
from bridge.schemas.schema import Schema, SchemaError

if TYPE_CHECKING:
    from bridge.schemas.registry import Registry


def open_registry(
    config: Config, environ: Mapping[str, str], replace: Callable[[Path, bytes], None], now: Callable[[], float]
) -> Registry | None:
    """The registry, with its thread; None where no route needs one. Arguments as of its parts."""
    settings = config.schema_registry
    if settings is None or not any(each.schema is not None and each.schema.registry for each in config.routes):
        return None
    from bridge.schemas.registry import Registry
    from bridge.schemas.registry_client import RegistryClient
    from bridge.schemas.registry_store import RegistryStore

    store = RegistryStore(config.gateway.data_dir / "schemas", settings.url, replace)
    return Registry(settings, RegistryClient(settings, environ), store, now)


def schemas_of(config: Config, registry: Registry | None) -> dict[str, Schema]:
    """By the filter of each route that has one.

    Raises:
        SchemaError: one cannot be used; the text names its file.
    """
    return {route.filter: _schema(route.schema, registry) for route in config.routes if route.schema is not None}


def problems(config: Config) -> list[tuple[str, str]]:
    """The filter of each route whose schema file cannot be used, and why."""
    found: list[tuple[str, str]] = []
    for route in config.routes:
        if route.schema is not None and route.schema.registry is None:
            try:
                load(route.schema)
            except SchemaError as error:
                found.append((route.filter, str(error)))
    return found


def _schema(settings: Settings, registry: Registry | None) -> Schema:
    if settings.registry is None or registry is None:
        return load(settings)
    from bridge.schemas.registry_schema import DeviceFramed, GatewayFramed

    if settings.registry == "device":
        return Sized(DeviceFramed(registry, settings.subject), settings.max_bytes)
    return Sized(GatewayFramed(registry, settings.subject or "", settings.message), settings.max_bytes)

"""An export of given windows by airbyte-cdk's async jobs. Run by benchmarks/peers/airbyte.py with the Python
of airbyte-cdk's own environment: ``airbyte_export.py WISH.json``; what it exports goes to standard output as
Airbyte's messages, as it does in any source.

The source is a declarative one, such as Airbyte's users write: create a job for each window, poll it until it
is done, ask where its file is, fetch that. Nothing of airbyte-cdk is changed; the one class added signs
requests as the service demands (bls-api.md 7).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from airbyte_cdk.entrypoint import launch
from airbyte_cdk.sources.declarative.auth.declarative_authenticator import DeclarativeAuthenticator
from airbyte_cdk.sources.declarative.concurrent_declarative_source import ConcurrentDeclarativeSource

STREAM = "logs"


class Signed(DeclarativeAuthenticator):  # type: ignore[misc]  # where airbyte-cdk is not, it is Any
    """Signs with the keys in the environment; the host, the date and the kind of the body are signed."""

    def __init__(self, config: object = None, **_: object) -> None:
        self._access = os.environ["BCE_ACCESS_KEY_ID"]
        self._secret = os.environ["BCE_SECRET_ACCESS_KEY"].encode()

    def __call__(self, request: Any) -> Any:
        url = urlsplit(request.url)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        request.headers["x-bce-date"] = now
        signed = {"host": url.netloc, "x-bce-date": now}
        if request.body:
            request.headers["Content-Type"] = signed["content-type"] = "application/json"
        prefix = f"bce-auth-v1/{self._access}/{now}/1800"
        key = hmac.new(self._secret, prefix.encode(), hashlib.sha256).hexdigest()
        query = sorted(
            f"{quote(name, safe='')}={quote(value, safe='')}"
            for name, value in parse_qsl(url.query, keep_blank_values=True)
        )
        headers = sorted(f"{name}:{quote(value, safe='')}" for name, value in signed.items())
        canonical = "\n".join(
            [request.method, quote(unquote(url.path), safe="/"), "&".join(query), "\n".join(headers)]
        )
        signature = hmac.new(key.encode(), canonical.encode(), hashlib.sha256).hexdigest()
        request.headers["Authorization"] = f"{prefix}/{';'.join(sorted(signed))}/{signature}"
        return request


def manifest(wish: dict[str, Any]) -> dict[str, Any]:
    """The declarative source for a wish: ``endpoint``, ``windows`` ("start/end" each), ``at_once``,
    ``threads`` and ``per_s`` (requests a second of each kind; 0 leaves it to 429s)."""

    def requester(method: str, path: str, **more: object) -> dict[str, Any]:
        return {
            "type": "HttpRequester",
            "url_base": wish["endpoint"],
            "path": path,
            "http_method": method,
            "authenticator": {"type": "CustomAuthenticator", "class_name": "airbyte_export.Signed"},
            "error_handler": {
                "type": "DefaultErrorHandler",
                "max_retries": 10,
                "backoff_strategies": [{"type": "ConstantBackoffStrategy", "backoff_time_in_seconds": 1}],
            },
            **more,
        }

    def field(*path: str) -> dict[str, Any]:
        return {"type": "DpathExtractor", "field_path": list(path)}

    window = "{{ stream_partition['window'].split('/')[%d] }}"
    retriever = {
        "type": "AsyncRetriever",
        "record_selector": {"type": "RecordSelector", "extractor": field()},
        "partition_router": {
            "type": "ListPartitionRouter",
            "cursor_field": "window",
            "values": wish["windows"],
        },
        "creation_requester": requester(
            "POST",
            "/v2/logstore/download",
            request_body_json={
                "name": f"peer-{window % 0}",
                "project": "default",
                "logStoreName": wish["logstore"],
                "query": "match *",
                "queryStartTime": window % 0,
                "queryEndTime": window % 1,
                "format": "json",
                "limit": "{{ 1000000 }}",
                "order": "asc",
            },
        ),
        "polling_requester": requester(
            "GET", "/v2/logstore/download/{{ creation_response['result']['uuid'] }}"
        ),
        "status_extractor": field("result", "task", "state"),
        "status_mapping": {
            "running": ["WAITING", "RUNNING"],
            "completed": ["SUCCESS"],
            "failed": ["FAILED", "EXPIRED"],
            "timeout": [],
        },
        "download_target_requester": requester(
            "GET", "/v2/logstore/download/link/{{ polling_response['result']['task']['uuid'] }}"
        ),
        "download_target_extractor": field("result", "link"),
        "download_requester": {
            "type": "HttpRequester",
            "url_base": "{{ download_target }}",
            "http_method": "GET",
        },
        "download_decoder": {"type": "JsonlDecoder"},
    }
    budget = {
        "type": "HTTPAPIBudget",
        "policies": [
            {
                "type": "MovingWindowCallRatePolicy",
                "rates": [{"limit": wish["per_s"], "interval": "PT1S"}],
                "matchers": [{"method": method, "url_path_pattern": pattern}],
            }
            for method, pattern in (
                ("POST", "/v2/logstore/download$"),
                ("GET", "/v2/logstore/download/link/.*"),
                ("GET", "/v2/logstore/download/[^/]+$"),
            )
        ],
    }
    return {
        "version": "7.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": [STREAM]},
        "streams": [
            {
                "type": "DeclarativeStream",
                "name": STREAM,
                "primary_key": [],
                "retriever": retriever,
                "schema_loader": {
                    "type": "InlineSchemaLoader",
                    "schema": {"type": "object", "additionalProperties": True, "properties": {}},
                },
            }
        ],
        "spec": {"type": "Spec", "connection_specification": {"type": "object", "properties": {}}},
        "max_concurrent_async_job_count": wish["at_once"],
        "concurrency_level": {
            "type": "ConcurrencyLevel",
            "default_concurrency": wish["threads"],
            "max_concurrency": wish["threads"],
        },
        **({"api_budget": budget} if wish["per_s"] else {}),
    }


def main(wish: dict[str, Any]) -> None:
    """Read the one stream, everything, to standard output."""
    catalog = {
        "streams": [
            {
                "stream": {
                    "name": STREAM,
                    "json_schema": {"type": "object"},
                    "supported_sync_modes": ["full_refresh"],
                },
                "sync_mode": "full_refresh",
                "destination_sync_mode": "append",
            }
        ]
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "catalog.json").write_text(json.dumps(catalog), encoding="utf-8")
        (folder / "config.json").write_text("{}", encoding="utf-8")
        source = ConcurrentDeclarativeSource(
            config={},
            catalog=ConcurrentDeclarativeSource.read_catalog(str(folder / "catalog.json")),
            state=[],
            source_config=manifest(wish),
        )
        arguments = ["--config", str(folder / "config.json"), "--catalog", str(folder / "catalog.json")]
        launch(source, ["read", *arguments])


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

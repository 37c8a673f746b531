"""Reads a list with dlt and with Airbyte's declarative sources, and prints the ids that they fetch.

`peers.py URL` reads `URL/pages`, in numbered pages, and `URL/links`, in pages that lead to the next.
It prints `{"dlt": {"pages": [id, ...], "links": [...]}, "airbyte": {...}}`.
"""

import io
import json
import os
import sys

os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")


def with_dlt(url):
    from dlt.sources.helpers.rest_client import paginators
    from dlt.sources.rest_api import rest_api_source

    def paged(name, paginator):
        endpoint = {"path": name, "data_selector": "data", "paginator": paginator}
        return {"name": name, "endpoint": endpoint}

    numbers = paginators.PageNumberPaginator(base_page=1, page_param="page", total_path=None)
    links = paginators.JSONLinkPaginator(next_url_path="next")
    source = rest_api_source(
        {
            "client": {"base_url": url + "/"},
            "resources": [paged("pages", numbers), paged("links", links)],
        }
    )
    return {name: [row["id"] for row in source.resources[name]] for name in ("pages", "links")}


def with_airbyte(url):
    from airbyte_cdk.sources.declarative.concurrent_declarative_source import (
        ConcurrentDeclarativeSource,
    )

    def stream(name, paginator):
        requester = {"type": "HttpRequester", "url_base": url, "path": "/" + name}
        return {
            "type": "DeclarativeStream",
            "name": name,
            "primary_key": "id",
            "schema_loader": {
                "type": "InlineSchemaLoader",
                "schema": {"type": "object", "properties": {}, "additionalProperties": True},
            },
            "retriever": {
                "type": "SimpleRetriever",
                "requester": requester,
                "record_selector": {
                    "type": "RecordSelector",
                    "extractor": {"type": "DpathExtractor", "field_path": ["data"]},
                },
                "paginator": {"type": "DefaultPaginator", **paginator},
            },
        }

    numbers = {
        "pagination_strategy": {"type": "PageIncrement", "start_from_page": 1, "page_size": 25},
        "page_token_option": {
            "type": "RequestOption",
            "inject_into": "request_parameter",
            "field_name": "page",
        },
    }
    links = {
        "pagination_strategy": {
            "type": "CursorPagination",
            "cursor_value": "{{ response.get('next') }}",
            "stop_condition": "{{ not response.get('next') }}",
        },
        "page_token_option": {"type": "RequestPath"},
    }
    manifest = {
        "version": "6.0.0",
        "type": "DeclarativeSource",
        "check": {"type": "CheckStream", "stream_names": ["pages"]},
        "streams": [stream("pages", numbers), stream("links", links)],
        "spec": {
            "type": "Spec",
            "connection_specification": {"type": "object", "properties": {}},
        },
    }
    source = ConcurrentDeclarativeSource(config={}, source_config=manifest)
    fetched = {}
    for one in source.streams({}):
        ids = []
        for partition in one.generate_partitions():
            ids.extend(record.data["id"] for record in partition.read())
        fetched[one.name] = ids
    return fetched


def main():
    url = sys.argv[1]
    told, sys.stdout = sys.stdout, io.StringIO()
    fetched = {"dlt": with_dlt(url), "airbyte": with_airbyte(url)}
    json.dump(fetched, told)


if __name__ == "__main__":
    main()

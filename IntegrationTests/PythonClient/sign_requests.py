"""Prints the requests that Microsoft's client makes, signed, without sending them.

Arguments: the account's key.
"""
import json
import sys

from azure.core import MatchConditions
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import HttpTransport
from azure.storage.blob import BlobBlock, BlobServiceClient, ContentSettings

key = sys.argv[1]
requests = []


class Recorder(HttpTransport):
    def send(self, request, **options):
        requests.append({"method": request.method, "url": request.url,
                         "headers": {name: str(value) for name, value in request.headers.items()}})
        raise ServiceRequestError("recorded")

    def open(self):
        pass

    def close(self):
        pass

    def __exit__(self, *arguments):
        pass


def record(base, account):
    credential = {"account_name": account, "account_key": key}
    service = BlobServiceClient(base, credential=credential, transport=Recorder(), retry_total=0)
    container = service.get_container_client("some-container")
    simple = container.get_blob_client("blobs/sha256:0123")
    strange = container.get_blob_client("a b/ü+&=%?#'~")
    calls = [
        lambda: list(service.list_containers()),
        lambda: list(service.list_containers(name_starts_with="a b", include_metadata=True)),
        lambda: service.get_account_information(),
        lambda: service.get_service_properties(),
        lambda: container.create_container(),
        lambda: container.create_container(metadata={"B_2": "x", "a1": "y z", "A_": "1"}, public_access="blob"),
        lambda: container.get_container_properties(),
        lambda: container.get_container_access_policy(),
        lambda: container.delete_container(),
        lambda: list(container.list_blobs()),
        lambda: list(container.list_blobs(name_starts_with="p/&=+ é", results_per_page=7, include=["metadata", "tags"])),
        lambda: list(container.walk_blobs(name_starts_with="p/", delimiter="/")),
    ]
    for blob in (simple, strange):
        calls += [
            lambda blob=blob: blob.upload_blob(b"12345", overwrite=True),
            lambda blob=blob: blob.upload_blob(b"", overwrite=True),
            lambda blob=blob: blob.upload_blob(b"12345"),
            lambda blob=blob: blob.upload_blob(
                b"12345", overwrite=True, etag='"0x1"', match_condition=MatchConditions.IfNotModified),
            lambda blob=blob: blob.upload_blob(b"12345", overwrite=True, metadata={"x_1": "1", "x1": "2", "xa": "3"}),
            lambda blob=blob: blob.upload_blob(b"12345", overwrite=True, content_settings=ContentSettings(
                content_type="text/plain", content_encoding="gzip", content_language="de", cache_control="no-cache")),
            lambda blob=blob: blob.upload_blob(b"12345", overwrite=True, validate_content=True),
            lambda blob=blob: blob.stage_block("QUJD+/==", b"123"),
            lambda blob=blob: blob.commit_block_list([BlobBlock("QUJD")]),
            lambda blob=blob: blob.get_block_list("all"),
            lambda blob=blob: blob.download_blob(),
            lambda blob=blob: blob.download_blob(offset=10, length=20),
            lambda blob=blob: blob.get_blob_properties(),
            lambda blob=blob: blob.get_blob_properties(etag='"0x1"', match_condition=MatchConditions.IfModified),
            lambda blob=blob: blob.set_blob_metadata({"a": "b"}),
            lambda blob=blob: blob.set_http_headers(ContentSettings(content_type="a/b")),
            lambda blob=blob: blob.delete_blob(delete_snapshots="include"),
            lambda blob=blob: blob.acquire_lease(15, lease_id="00000000-0000-0000-0000-000000000001"),
            lambda blob=blob: blob.set_standard_blob_tier("Cool"),
            lambda blob=blob: blob.start_copy_from_url("https://example.com/a?b=c&d=e"),
        ]
    for call in calls:
        count = len(requests)
        try:
            call()
        except ServiceRequestError:
            pass
        assert len(requests) == count + 1, len(requests)


record("https://acct.blob.core.windows.net", "acct")
record("http://127.0.0.1:10000/devacct", "devacct")
print(json.dumps(requests))

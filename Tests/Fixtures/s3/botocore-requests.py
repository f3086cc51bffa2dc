"""Prints requests as botocore signs them, one JSON object per line; sends none."""

import datetime
import io
import itertools
import json
import sys

import botocore.auth
import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config

TIME = datetime.datetime(2026, 11, 23, 4, 5, 6)
botocore.auth.get_current_datetime = lambda remove_tzinfo=True: TIME

KEYS = [
    "blobs/sha256:" + "ab" * 32,
    "a b/c+d",
    "tilde~dash-dot.under_score",
    "percent%20sign%",
    "ümläut/日本語/😀",
    "quotes'\"(round)[square]{curly}",
    "and&equals=at@comma,semi;colon:dollar$",
    "/leading//double/",
    "back\\slash^caret`tick|bar<less>",
    "question?mark#hash!star*",
]
PLACES = [
    # endpoint, path style, session token
    ("http://127.0.0.1:8333", True, None),
    ("https://storage.example.com/tenant/s3", True, "token/with+signs=="),
    (None, False, None),
    ("http://localhost:9000", False, "token"),
]


class Body(io.BytesIO):
    def stream(self, *arguments, **named):
        yield b""


def client(place):
    endpoint, path_style, token = place
    config = Config(
        s3={"addressing_style": "path" if path_style else "virtual"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"total_max_attempts": 1},
    )
    session = botocore.session.get_session()
    return session.create_client(
        "s3", region_name="eu-west-1", endpoint_url=endpoint, config=config, aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret/with+signs=", aws_session_token=token)


def calls(key, s3):
    bucket = {"Bucket": "the-cache"}
    object = {**bucket, "Key": key}
    upload = {**object, "UploadId": "id/with+signs=="}
    yield s3.get_object, {**object, "Range": "bytes=5-1023"}
    yield s3.head_object, object
    yield s3.put_object, {**object, "Body": b"some bytes\n"}
    yield s3.put_object, {**object, "Body": b"", "Metadata": {"updated-at": "  two   spaces  "}, "IfNoneMatch": "*"}
    yield s3.list_objects_v2, {**bucket, "Prefix": key, "StartAfter": key + "x", "MaxKeys": 1000}
    yield s3.create_multipart_upload, object
    yield s3.upload_part, {**upload, "PartNumber": 7, "Body": b"part"}
    yield s3.complete_multipart_upload, {
        **upload, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": '"e&t"'}]}}
    yield s3.abort_multipart_upload, upload
    yield s3.list_multipart_uploads, {**bucket, "Prefix": key}
    yield s3.copy_object, {**object, "CopySource": {**bucket, "Key": key}, "MetadataDirective": "REPLACE"}


def main():
    for place, key in itertools.product(PLACES, KEYS):
        s3 = client(place)
        # All operations for the first key, a few for each of the others.
        chosen = list(calls(key, s3))
        if key != KEYS[0]:
            chosen = [chosen[0], chosen[2], chosen[4]]
        for call, arguments in chosen:
            sent = []

            def capture(request, **named):
                sent.append(request)
                return AWSResponse(request.url, 200, {}, Body(b""))

            s3.meta.events.register_first("before-send.s3", capture)
            try:
                call(**arguments)
            except Exception:
                pass  # Nothing was answered; what counts is what would have been sent.
            s3.meta.events.unregister("before-send.s3", capture)
            request = sent[0]
            body = request.body or b""
            if hasattr(body, "read"):
                body.seek(0)
                body = body.read()
            headers = {
                name: value.decode() if isinstance(value, bytes) else value for name, value in request.headers.items()}
            json.dump(
                {
                    "operation": call.__name__, "endpoint": place[0], "pathStyle": place[1], "key": key,
                    "isObject": "Key" in arguments, "method": request.method, "url": request.url, "headers": headers,
                },
                sys.stdout)
            print()


main()

"""Reads cases as JSON, one per line; prints the URL and the signed region of a request of each as botocore makes it; sends none."""

import json
import os
import sys
import tempfile

import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config


def sent(case):
    os.environ.clear()
    os.environ.update(case["variables"])
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = "/nonexistent"
    with tempfile.NamedTemporaryFile("w") as config:
        config.write(case["config"])
        config.flush()
        os.environ["AWS_CONFIG_FILE"] = config.name
        client = botocore.session.get_session().create_client(
            case["service"], region_name=case["region"], endpoint_url=case.get("endpoint"),
            # Where nothing else is said, BuildKit's client puts the bucket into the host.
            config=Config(
                retries={"total_max_attempts": 1},
                s3=None if case["variables"].get("AWS_PROFILE") == "style" else {"addressing_style": "virtual"}),
            aws_access_key_id="id", aws_secret_access_key="s")
    requests = []

    def capture(request, **named):
        requests.append(request)
        return AWSResponse(request.url, 404, {}, None)

    client.meta.events.register_first("before-send", capture)
    try:
        if case["service"] == "sts":
            client.get_caller_identity()
        else:
            client.head_object(Bucket=case["bucket"], Key="key")
    except Exception as error:
        if not requests:
            return {"error": str(error)}
    authorization = requests[0].headers["Authorization"].decode()
    return {"url": requests[0].url, "region": authorization.split("Credential=")[1].split("/")[2]}


for line in sys.stdin:
    print(json.dumps(sent(json.loads(line))))

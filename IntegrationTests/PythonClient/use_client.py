"""Uses an account with Microsoft's client and says for each thing it tried whether it came out as Azure has it.

Arguments: URL of the account, its key, a wrong key.
"""
import base64
import datetime
import sys

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    BlobBlock, BlobClient, BlobSasPermissions, BlobServiceClient, ContainerClient, ContainerSasPermissions,
    AccountSasPermissions, ResourceTypes, generate_account_sas, generate_blob_sas, generate_container_sas)

url, key, wrong_key = sys.argv[1:4]
account = url.rsplit("/", 1)[-1]
quick = dict(retry_total=0)


def client(credential, **options):
    return BlobServiceClient(url, credential=credential, **quick, **options)


def check(name, outcome):
    print(("ok " if outcome else "FAILED ") + name)


def refused(name, status, code, call):
    try:
        call()
    except HttpResponseError as error:
        check(name, error.status_code == status and error.error_code == code)
        if error.status_code != status or error.error_code != code:
            print("  ", error.status_code, error.error_code)
    else:
        check(name, False)


service = client(key, max_single_put_size=1 << 20, max_block_size=1 << 20, max_single_get_size=1 << 20,
                 max_chunk_get_size=1 << 20)
container = service.get_container_client("python")

refused("missing container", 404, "ContainerNotFound", lambda: container.get_container_properties())
container.create_container()
check("create", container.exists())
refused("create again", 409, "ContainerAlreadyExists", lambda: container.create_container())

small = b"small" * 100
large = bytes(i * 7 % 251 for i in range(5 << 20)) + b"end"
blob = container.get_blob_client("some/blob with spaces & more:+%.bin")
blob.upload_blob(small, metadata={"made_by": "python", "a1": "b c"})
check("upload at once", blob.download_blob().readall() == small)
check("metadata", blob.get_blob_properties().metadata == {"made_by": "python", "a1": "b c"})
refused("no overwriting", 409, "BlobAlreadyExists", lambda: blob.upload_blob(small, overwrite=False))
blob.upload_blob(b"other", overwrite=True)
check("overwriting", blob.download_blob().readall() == b"other")

in_blocks = container.get_blob_client("large")
in_blocks.upload_blob(large, max_concurrency=4)
check("upload in blocks", in_blocks.get_blob_properties().size == len(large))
check("download in ranges", in_blocks.download_blob(max_concurrency=4).readall() == large)
check("one range", in_blocks.download_blob(offset=1000, length=2_000_000).readall() == large[1000:2_001_000])
check("range to the end", in_blocks.download_blob(offset=len(large) - 3).readall() == b"end")
refused("range behind the end", 416, "InvalidRange", lambda: in_blocks.download_blob(offset=len(large) + 5, length=1))

staged = container.get_blob_client("staged")
staged.stage_block("AAAA", b"first ")
staged.stage_block("BBBB", b"second")
check("blocks alone are no blob", not staged.exists())
committed, uncommitted = staged.get_block_list("all")
check("list of blocks", len(committed) == 0 and sorted(block.size for block in uncommitted) == [6, 6])
refused("blocks of one length", 400, "InvalidBlobOrBlock", lambda: staged.stage_block("AAAAAAAA", b"x"))
refused("unknown block", 400, "InvalidBlockList", lambda: staged.commit_block_list([BlobBlock("CCCC")]))
staged.commit_block_list([BlobBlock("BBBB"), BlobBlock("AAAA")])
check("commit in the order of the list", staged.download_blob().readall() == b"secondfirst ")

tag = staged.get_blob_properties().etag
staged.upload_blob(b"changed", overwrite=True, etag=tag, match_condition=MatchConditions.IfNotModified)
check("condition that is met", staged.download_blob().readall() == b"changed")
refused("condition that is not met", 412, "ConditionNotMet", lambda: staged.upload_blob(
    b"again", overwrite=True, etag=tag, match_condition=MatchConditions.IfNotModified))
refused("reading an older version", 412, "ConditionNotMet", lambda: staged.download_blob(
    etag=tag, match_condition=MatchConditions.IfNotModified).readall())

for number in range(25):
    container.upload_blob("page/%02d" % number, b"x")
pages = list(container.list_blobs(name_starts_with="page/", results_per_page=10).by_page())
names = [[entry.name for entry in page] for page in pages]
check("list in pages", [len(page) for page in names] == [10, 10, 5])
check("list in order", sum(names, []) == ["page/%02d" % number for number in range(25)])
check("names in lists", blob.blob_name in [entry.name for entry in container.list_blobs()])
check("list of containers", "python" in [entry.name for entry in service.list_containers()])

refused("missing blob", 404, "BlobNotFound", lambda: container.get_blob_client("nothing").get_blob_properties())
staged.delete_blob()
refused("deleted blob", 404, "BlobNotFound", lambda: staged.download_blob())

refused("wrong key", 403, "AuthenticationFailed",
        lambda: client(wrong_key).get_container_client("python").get_blob_client("large").download_blob())
refused("no key", 401, "NoAuthenticationInformation",
        lambda: client(None).get_container_client("python").get_blob_client("large").download_blob())

now = datetime.datetime.now(datetime.timezone.utc)
hour = now + datetime.timedelta(hours=1)
read = generate_blob_sas(account, "python", "large", account_key=key, permission=BlobSasPermissions(read=True),
                         expiry=hour)
signed = BlobClient(url, "python", "large", credential=read, **quick)
check("signature of a blob", signed.download_blob(offset=0, length=10).readall() == large[:10])
refused("signature that only reads", 403, "AuthorizationPermissionMismatch",
        lambda: signed.upload_blob(b"x", overwrite=True))
refused("signature of another blob", 403, "AuthenticationFailed",
        lambda: BlobClient(url, "python", "page/01", credential=read, **quick).download_blob())
late = generate_blob_sas(account, "python", "large", account_key=key, permission=BlobSasPermissions(read=True),
                         expiry=now - datetime.timedelta(minutes=1))
refused("signature that ended", 403, "AuthenticationFailed",
        lambda: BlobClient(url, "python", "large", credential=late, **quick).download_blob())
whole = generate_container_sas(account, "python", account_key=key, expiry=hour,
                               permission=ContainerSasPermissions(read=True, write=True, list=True, create=True))
all_blobs = ContainerClient(url, "python", credential=whole, **quick)
all_blobs.upload_blob("by signature", b"yes")
check("signature of a container", "by signature" in [entry.name for entry in all_blobs.list_blobs()])
everything = generate_account_sas(account, key, ResourceTypes(service=True, container=True, object=True),
                                  AccountSasPermissions(read=True, write=True, create=True), hour)
other = client(everything).get_container_client("by-account")
other.create_container()
other.upload_blob("a", b"b")
check("signature of the account", other.download_blob("a").readall() == b"b")

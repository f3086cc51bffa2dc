"""Makes a private Fulcio, log of certificates, transparency log and time authority, and bundles that they vouch for.

    python3 authority.py FOLDER

Writes `root.json`, `artifact`, and one bundle per case: `good*.json` must verify, `bad*.json` must not. Needs PyPI `cryptography`, and `openssl` for times.
"""
import base64, copy, datetime, hashlib, json, os, struct, subprocess, sys, tempfile
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

UTC = datetime.timezone.utc
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
YEARS = datetime.timedelta(days=3650)
b64 = lambda data: base64.b64encode(data).decode()
sha = lambda data: hashlib.sha256(data).digest()
key = lambda: ec.generate_private_key(ec.SECP256R1())
spki = lambda k: k.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
der = lambda c: c.public_bytes(serialization.Encoding.DER)
sign = lambda k, data: k.sign(data, ec.ECDSA(hashes.SHA256()))
name = lambda text: x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "test"), x509.NameAttribute(NameOID.COMMON_NAME, text)])


def authority(text, issuer=None, path=None):
    k = key()
    issuer_name, issuer_key = (issuer[0].subject, issuer[1]) if issuer else (name(text), k)
    builder = (x509.CertificateBuilder().subject_name(name(text)).issuer_name(issuer_name).public_key(k.public_key())
               .serial_number(x509.random_serial_number()).not_valid_before(NOW - YEARS).not_valid_after(NOW + YEARS)
               .add_extension(x509.BasicConstraints(True, path), True)
               .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(k.public_key()), False)
               .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False))
    return builder.sign(issuer_key, hashes.SHA256()), k


class World:
    def __init__(self):
        self.root = authority("root", path=1)
        self.issuer = authority("intermediate", self.root, 0)
        self.ct, self.log = key(), key()
        self.time_root = authority("time root", path=0)

    def leaf(self, k, start=NOW, usage=ExtendedKeyUsageOID.CODE_SIGNING, ct=None, identity="https://github.com/acme/app/.github/workflows/ci.yml@refs/heads/main", ref="refs/heads/main"):
        text = lambda value: bytes([0x0C, len(value)]) + value.encode()
        oid = lambda n: ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{n}")
        builder = (x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(self.issuer[0].subject).public_key(k.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(start - datetime.timedelta(seconds=60))
                   .not_valid_after(start + datetime.timedelta(minutes=10))
                   .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), True)
                   .add_extension(x509.ExtendedKeyUsage([usage]), False)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(k.public_key()), False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.issuer[1].public_key()), False)
                   .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), True)
                   .add_extension(x509.UnrecognizedExtension(oid(1), b"https://token.actions.githubusercontent.com"), False)
                   .add_extension(x509.UnrecognizedExtension(oid(8), text("https://token.actions.githubusercontent.com")), False)
                   .add_extension(x509.UnrecognizedExtension(oid(6), ref.encode()), False)
                   .add_extension(x509.UnrecognizedExtension(oid(14), text(ref)), False))
        tbs = builder.sign(self.issuer[1], hashes.SHA256()).tbs_certificate_bytes
        stamp = int(start.timestamp() * 1000)
        message = (bytes([0, 0]) + struct.pack(">Q", stamp) + bytes([0, 1]) + sha(spki(self.issuer[1]))
                   + struct.pack(">I", len(tbs))[1:] + tbs + bytes([0, 0]))
        signer = ct or self.ct
        signature = sign(signer, message)
        sct = bytes([0]) + sha(spki(self.ct)) + struct.pack(">Q", stamp) + bytes([0, 0, 4, 3]) + struct.pack(">H", len(signature)) + signature
        listed = struct.pack(">H", len(sct)) + sct
        listed = struct.pack(">H", len(listed)) + listed
        octets = bytes([0x04, 0x81, len(listed)]) if len(listed) > 127 else bytes([0x04, len(listed)])
        builder = builder.add_extension(x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), octets + listed), False)
        return builder.sign(self.issuer[1], hashes.SHA256())

    def entry(self, body, when=NOW, log=None, promise=True):
        log = log or self.log
        text = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
        # A tree of three leaves, ours in the middle.
        leaves = [sha(b"\0first"), sha(b"\0" + text), sha(b"\0third")]
        pair = sha(b"\1" + leaves[0] + leaves[1])
        top = sha(b"\1" + pair + leaves[2])
        note = f"log.test - 1\n3\n{b64(top)}\n"
        checkpoint = note + "\n\u2014 log.test " + b64(sha(spki(self.log))[:4] + sign(log, note.encode())) + "\n"
        seconds = int(when.timestamp())
        key_id = sha(spki(self.log))
        signed = json.dumps({"body": b64(text), "integratedTime": seconds, "logID": key_id.hex(), "logIndex": 7}, separators=(",", ":"), sort_keys=True)
        entry = {"logIndex": "7", "logId": {"keyId": b64(key_id)}, "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
                 "integratedTime": str(seconds), "inclusionProof": {"logIndex": "1", "rootHash": b64(top), "treeSize": "3",
                 "hashes": [b64(leaves[0]), b64(leaves[2])], "checkpoint": {"envelope": checkpoint}}, "canonicalizedBody": b64(text)}
        if promise:
            entry["inclusionPromise"] = {"signedEntryTimestamp": b64(sign(log, signed.encode()))}
        else:
            del entry["integratedTime"]
        return entry

    def stamp(self, data, folder):
        """An RFC 3161 response of openssl."""
        path = lambda n: os.path.join(folder, n)
        if not os.path.exists(path("tsa.pem")):
            k = key()
            cert = (x509.CertificateBuilder().subject_name(name("time")).issuer_name(self.time_root[0].subject).public_key(k.public_key())
                    .serial_number(x509.random_serial_number()).not_valid_before(NOW - YEARS).not_valid_after(NOW + YEARS)
                    .add_extension(x509.BasicConstraints(False, None), True)
                    .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), True)
                    .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True)
                    .sign(self.time_root[1], hashes.SHA256()))
            self.time_leaf = cert
            open(path("tsa.pem"), "wb").write(cert.public_bytes(serialization.Encoding.PEM))
            open(path("tsa.key"), "wb").write(k.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
            open(path("tsa.conf"), "w").write(f"[tsa]\ndefault_tsa=t\n[t]\nserial={path('serial')}\ncrypto_device=builtin\nsigner_cert={path('tsa.pem')}\nsigner_key={path('tsa.key')}\nsigner_digest=sha256\ndefault_policy=1.2.3.4\ndigests=sha256\naccuracy=secs:1\ness_cert_id_chain=no\ness_cert_id_alg=sha256\n")
        open(path("data"), "wb").write(data)
        subprocess.run(["openssl", "ts", "-query", "-data", path("data"), "-sha256", "-cert", "-out", path("q")], check=True, capture_output=True)
        subprocess.run(["openssl", "ts", "-reply", "-config", path("tsa.conf"), "-section", "t", "-queryfile", path("q"), "-out", path("r")], check=True, capture_output=True)
        return open(path("r"), "rb").read()

    def trusted_root(self):
        span = {"start": (NOW - YEARS).isoformat().replace("+00:00", "Z")}
        log = lambda k, url: {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": {"rawBytes": b64(spki(k)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": span}, "logId": {"keyId": b64(sha(spki(k)))}}
        chain = lambda certs: {"subject": {"organization": "test", "commonName": "test"}, "uri": "https://ca.test", "certChain": {"certificates": [{"rawBytes": b64(der(c))} for c in certs]}, "validFor": span}
        return {"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": [log(self.log, "https://log.test")],
                "certificateAuthorities": [chain([self.issuer[0], self.root[0]])], "ctlogs": [log(self.ct, "https://ct.test")],
                "timestampAuthorities": [chain([self.time_leaf, self.time_root[0]])]}


def message_bundle(world, artifact, k, cert, **options):
    signature = sign(k, artifact)
    pem = cert.public_bytes(serialization.Encoding.PEM)
    body = {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {"data": {"hash": {"algorithm": "sha256", "value": options.pop("hash", sha(artifact).hex())}},
            "signature": {"content": b64(options.pop("logged", signature)), "publicKey": {"content": b64(pem)}}}}
    return bundle(cert, world.entry(body, **options), messageSignature={"messageDigest": {"algorithm": "SHA2_256", "digest": b64(sha(artifact))}, "signature": b64(signature)})


def bundle(cert, entry, **content):
    return {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": {"certificate": {"rawBytes": b64(der(cert))}, "tlogEntries": [entry]}, **content}


def main(folder):
    os.makedirs(folder, exist_ok=True)
    world, other = World(), World()
    artifact = b'{"layers":[],"records":[]}'
    cases = {}
    k = key()
    cert = world.leaf(k)
    cases["good-message"] = message_bundle(world, artifact, k, cert)
    # A statement with claims.
    statement = json.dumps({"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": sha(artifact).hex()}, "annotations": {
        "build-cache.name": "s3:ci/main", "build-cache.sequence": "7", "build-cache.signed-at": "2026-01-02T03:04:05Z"}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1", "predicate": {}}, separators=(",", ":")).encode()
    kind = "application/vnd.in-toto+json"
    signature = sign(k, b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(statement), statement))
    envelope = {"payload": b64(statement), "payloadType": kind, "signatures": [{"sig": b64(signature)}]}
    pem = cert.public_bytes(serialization.Encoding.PEM)
    dsse = {"apiVersion": "0.0.1", "kind": "dsse", "spec": {"envelopeHash": {"algorithm": "sha256", "value": sha(json.dumps(envelope).encode()).hex()},
            "payloadHash": {"algorithm": "sha256", "value": sha(statement).hex()}, "signatures": [{"signature": b64(signature), "verifier": b64(pem)}]}}
    cases["good-statement"] = bundle(cert, world.entry(dsse), dsseEnvelope=envelope)
    changed = copy.deepcopy(cases["good-statement"])
    changed["dsseEnvelope"]["payload"] = b64(statement.replace(b"main", b"evil"))
    cases["bad-payload"] = changed
    with tempfile.TemporaryDirectory() as scratch:
        now = datetime.datetime.now(UTC)
        fresh = world.leaf(k, start=now)
        timed = message_bundle(world, artifact, k, fresh, when=now, promise=False)
        response = world.stamp(base64.b64decode(timed["messageSignature"]["signature"]), scratch)
        timed["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": b64(response)}]}
        cases["good-timestamp"] = timed
        wrong = copy.deepcopy(timed)
        wrong["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] = b64(world.stamp(b"other", scratch))
        cases["bad-timestamp-other-data"] = wrong
        root = world.trusted_root()
    cases["bad-issuer"] = message_bundle(world, artifact, k, other.leaf(k))
    cases["bad-certificate-log"] = message_bundle(world, artifact, k, world.leaf(k, ct=key()))
    cases["bad-usage"] = message_bundle(world, artifact, k, world.leaf(k, usage=ExtendedKeyUsageOID.CLIENT_AUTH))
    cases["bad-expired"] = message_bundle(world, artifact, k, cert, when=NOW + datetime.timedelta(hours=1))
    cases["bad-early"] = message_bundle(world, artifact, k, cert, when=NOW - datetime.timedelta(hours=1))
    cases["bad-log-key"] = message_bundle(world, artifact, k, cert, log=key())
    cases["bad-log-digest"] = message_bundle(world, artifact, k, cert, hash=sha(b"other").hex())
    cases["bad-log-signature"] = message_bundle(world, artifact, k, cert, logged=sign(k, b"other"))
    cases["bad-no-time"] = message_bundle(world, artifact, k, cert, promise=False)
    cases["bad-key"] = message_bundle(world, artifact, key(), cert)
    for field, change in [("rootHash", b64(sha(b"x"))), ("treeSize", "4"), ("logIndex", "0"), ("hashes", [])]:
        changed = copy.deepcopy(cases["good-message"])
        changed["verificationMaterial"]["tlogEntries"][0]["inclusionProof"][field] = change
        cases["bad-proof-" + field] = changed
    changed = copy.deepcopy(cases["good-message"])
    changed["verificationMaterial"]["tlogEntries"] = []
    cases["bad-no-log"] = changed
    changed = copy.deepcopy(cases["good-message"])
    changed["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = str(int(NOW.timestamp()) + 1)
    cases["bad-promise-time"] = changed
    open(os.path.join(folder, "artifact"), "wb").write(artifact)
    json.dump(root, open(os.path.join(folder, "root.json"), "w"))
    for label, value in cases.items():
        json.dump(value, open(os.path.join(folder, label + ".json"), "w"), separators=(",", ":"))


main(sys.argv[1])

import BuildCacheCore

extension SignatureBundle {
    /// Compact JSON of version 0.3.
    func encode() -> [UInt8] {
        var json = JSONWriter(reservingCapacity: 1024)
        json.beginObject()
        json.key("mediaType")
        json.string(SignatureBundle.mediaType)
        json.key("verificationMaterial")
        json.beginObject()
        switch signer {
        case .key(let hint):
            json.key("publicKey")
            json.beginObject()
            json.key("hint")
            json.string(hint)
            json.endObject()
        case .certificate(let certificate, _):
            json.key("certificate")
            json.beginObject()
            json.key("rawBytes")
            json.base64(certificate)
            json.endObject()
        }
        if !logEntries.isEmpty {
            json.key("tlogEntries")
            json.beginArray()
            for entry in logEntries { entry.write(to: &json) }
            json.endArray()
        }
        if !timestamps.isEmpty {
            json.key("timestampVerificationData")
            json.beginObject()
            json.key("rfc3161Timestamps")
            json.beginArray()
            for timestamp in timestamps {
                json.beginObject()
                json.key("signedTimestamp")
                json.base64(timestamp)
                json.endObject()
            }
            json.endArray()
            json.endObject()
        }
        json.endObject()
        content.write(to: &json)
        json.endObject()
        return json.bytes
    }

    /// The media type of version 0.3.
    package static let mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
}

extension SignatureBundle.Content {
    fileprivate func write(to json: inout JSONWriter) {
        switch self {
        case .message(let digest, let signature):
            json.key("messageSignature")
            json.beginObject()
            if let digest {
                json.key("messageDigest")
                json.beginObject()
                json.key("algorithm")
                json.string("SHA2_256")
                json.key("digest")
                json.base64(digest)
                json.endObject()
            }
            json.key("signature")
            json.base64(signature)
            json.endObject()
        case .envelope(let envelope):
            json.key("dsseEnvelope")
            json.beginObject()
            json.key("payload")
            json.base64(envelope.payload)
            json.key("payloadType")
            json.string(envelope.payloadType)
            json.key("signatures")
            json.beginArray()
            for signature in envelope.signatures {
                json.beginObject()
                json.key("sig")
                json.base64(signature.bytes)
                if !signature.keyID.isEmpty {
                    json.key("keyid")
                    json.string(signature.keyID)
                }
                json.endObject()
            }
            json.endArray()
            json.endObject()
        }
    }
}

extension SignatureBundle.LogEntry {
    fileprivate func write(to json: inout JSONWriter) {
        json.beginObject()
        json.key("logIndex")
        json.string("\(index)")
        json.key("logId")
        json.beginObject()
        json.key("keyId")
        json.base64(logID)
        json.endObject()
        json.key("kindVersion")
        json.beginObject()
        json.key("kind")
        json.string(kind)
        json.key("version")
        json.string(kindVersion)
        json.endObject()
        if integratedTime != 0 {
            json.key("integratedTime")
            json.string("\(integratedTime)")
        }
        if let promise {
            json.key("inclusionPromise")
            json.beginObject()
            json.key("signedEntryTimestamp")
            json.base64(promise)
            json.endObject()
        }
        if let proof {
            json.key("inclusionProof")
            json.beginObject()
            json.key("logIndex")
            json.string("\(proof.index)")
            json.key("rootHash")
            json.base64(proof.rootHash)
            json.key("treeSize")
            json.string("\(proof.treeSize)")
            json.key("hashes")
            json.beginArray()
            for hash in proof.hashes { json.base64(hash) }
            json.endArray()
            json.key("checkpoint")
            json.beginObject()
            json.key("envelope")
            json.string(proof.checkpoint)
            json.endObject()
            json.endObject()
        }
        json.key("canonicalizedBody")
        json.base64(body)
        json.endObject()
    }
}

extension JSONWriter {
    fileprivate mutating func base64(_ bytes: [UInt8]) {
        string(String(decoding: Base64.encode(bytes), as: UTF8.self))
    }
}

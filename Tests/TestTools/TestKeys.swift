/// Keys of openssl genpkey, made for these tests.
package enum TestKeys {
    /// The seed `00 01 … 1f` of the specification's vector.
    package static let ed25519 = """
        -----BEGIN PRIVATE KEY-----
        MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f
        -----END PRIVATE KEY-----
        """
    /// A key on P-256.
    package static let p256 = """
        -----BEGIN PRIVATE KEY-----
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgSDq2M/uLW7Jy2L+w
        qd0v4jY4AAp4jMzdE+QLybLuXR6hRANCAAT0wK+nB+yfzT9ErHYm75f89hZjV8Vn
        elzEFH4ts7hdohfVwJ98pZcp2SNuXGmrAJu95fc+LuROM3mqHvhcApU5
        -----END PRIVATE KEY-----
        """
    /// The public half of ``p256``.
    package static let p256Public = """
        -----BEGIN PUBLIC KEY-----
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9MCvpwfsn80/RKx2Ju+X/PYWY1fF
        Z3pcxBR+LbO4XaIX1cCffKWXKdkjblxpqwCbveX3Pi7kTjN5qh74XAKVOQ==
        -----END PUBLIC KEY-----
        """
    /// ``p256`` in the older form.
    package static let p256SEC1 = """
        -----BEGIN EC PRIVATE KEY-----
        MHcCAQEEIEg6tjP7i1uycti/sKndL+I2OAAKeIzM3RPkC8my7l0eoAoGCCqGSM49
        AwEHoUQDQgAE9MCvpwfsn80/RKx2Ju+X/PYWY1fFZ3pcxBR+LbO4XaIX1cCffKWX
        KdkjblxpqwCbveX3Pi7kTjN5qh74XAKVOQ==
        -----END EC PRIVATE KEY-----
        """
    /// ``p256``, encrypted with the passphrase `secret`.
    package static let p256Encrypted = """
        -----BEGIN ENCRYPTED PRIVATE KEY-----
        MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgEpJ2rjVDOEwICCAAw
        DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEE33Jp/HBg8tRp/KrMbNKsoEgZCu
        iWijH56btn7XQ3GMBcNFaYwr7Dnz3LBNLpGrNgS3sCUm+29YZLSN2rSQrYsFo3ph
        zmpdkYMgdKM1KRGv+n3v2LAsEAkLk8F3ojmZBFISRAcOJVn+7wLMYXOkXi9Wmgvy
        sH1p0XBL9YYFt0GWueKmcEiYo1NwRCevY7Mbq92d6ZCIuUmci/H9epHwlRhYE2E=
        -----END ENCRYPTED PRIVATE KEY-----
        """
    /// Another Ed25519 key.
    package static let otherEd25519 = """
        -----BEGIN PRIVATE KEY-----
        MC4CAQAwBQYDK2VwBCIEIF9cAaKPxY9UTTyinaTNx1UUMUtLuWKlc1k5AvgSuIMR
        -----END PRIVATE KEY-----
        """
    /// A key on another curve.
    package static let p384 = """
        -----BEGIN PRIVATE KEY-----
        MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDCWkbK7OBoBb1F/l/2C
        jK9hgRV/CukUeas05+7XWlehWfN3p04JpUU0UDF2bD6fcxChZANiAASqb8nm1OgG
        JO3DhSn5oITaroS8HFBtrVS9Npszebg+8wdaVfh3eehPN/fMimbjzYjqqLOeDu++
        Sb+3Mbvikzjcy8iYZ7Y8E3xnwknazNllvsiacm7MUiWIkBGffNuqURQ=
        -----END PRIVATE KEY-----
        """
    /// A key on P-256 whose curve is written out.
    package static let explicit = """
        -----BEGIN PRIVATE KEY-----
        MIIBeQIBADCCAQMGByqGSM49AgEwgfcCAQEwLAYHKoZIzj0BAQIhAP////8AAAAB
        AAAAAAAAAAAAAAAA////////////////MFsEIP////8AAAABAAAAAAAAAAAAAAAA
        ///////////////8BCBaxjXYqjqT57PrvVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMV
        AMSdNgiG5wSTamZ44ROdJreBn36QBEEEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg
        9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9QIhAP////8A
        AAAA//////////+85vqtpxeehPO5ysL8YyVRAgEBBG0wawIBAQQgp6mQ88pnFTC+
        TQ3IKjzBrdBsa2YP4eDwCwt1LxjBzxmhRANCAATgUUQllGqd5J8veZJNK88DQGeS
        p8HZ6la93Xqpc1lPAJ+qqgsDmvkr3Yn/u9w4P98QfHhE4TPN64+gSWD2jJrG
        -----END PRIVATE KEY-----
        """
    /// A key of another algorithm.
    package static let rsa = """
        -----BEGIN PRIVATE KEY-----
        MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQCmofg7ldYyhH9z
        M+wMjIQcIa9Cxz4ITgTScpreGJ5JDZUtQu2jqqmnitNf35N8EPqE08kSSHz0zLF6
        vHDJKMXjuKyD7VCxySGxMSKpcCA0SNqindKbybNzJ83uiKafmXkkptFbpICv+PzU
        co9VENUK73mHgvWbbs2aJTRBUUWh6Fx1A3zuq/j2qPQWh5EpiJOVMLB6nH4oNX+V
        13f8mkF6RLCrgFObemXACPrrqQ0ntUAnBQG0IKIWw2xZluDX9NGc2s1SMBUBfssE
        KdsRLUZ2FYBiLMRTbpITx87niRLIiyZbV1qfUn72n39pRG2fwyl5JacVXipa6Wy6
        MM2nzN75AgMBAAECggEAIl8ts6jMNr5zBcHzkoEXrS/blZRAvPjO8NQYEvEUEXCe
        UWhJWaXV+gveXxvgscpUyrpe8wkF0X85qt4dC7l/3GHXIB1/NDUPYJwIkNfipLZU
        dw/EBkOcYwgWZ/pDGI/RV9ibPeKYcvQSvwXkgAEJWQid0nCWlhnMilvbRA/uI5/T
        S2YUsAi1j5BcP8f+ux0mhIdNWK84ffi0eVZ0dV6VnJgMF2XS4yiz0KJne7Mzsi6I
        4rvt+3CJ2IeKDGOwPdkAwDRYtRrUPzYItczLdaiOZ/D8gpXJGHS/zFdnFzS8bsXJ
        lWMWzY9s5oKAYPw6i+sEBGwJkdko5GUwoE1SaiSlEwKBgQDoN87rVuTMt4tqWCpp
        h9voBhmT3Le7V4OyCiFwQ4vY+YApUwEqoIziWOY/basR/t6Nuf/BbJftI/YUBJ9R
        uWM34QW73+Kpl4L0d7N0KR/Tul9hjjF3ykBFAVUDhxJt98nGCXasLD6uakAKWz+e
        RA/6PJNhZwLArJecZgboUW9JbwKBgQC3sqyK4xLTDEylvULLVJpkuL7i+QbVtfE5
        WAiGDhUo3J5gZxu0+1onyegvt1IGiI0pzLjiLKcMSN9+pJB0Omk3KaMAF3X8SAio
        8Sj0Qz5QXNRdHrht0CZ3Pjobl4ka0j9KifmsuTJjoiIkLM7u/8m4hYtLR3Ve87tN
        UC2rcCgaFwKBgCekf1qFtwGLw+0fp/3kB5KQmAU6BNOimQTn3dWAcntT/KERXn2c
        cvChJI1nd3DXBb9EJXkrxLPjE7tPHrOg5mM/su7jxZoWF3EMjkIiUyCeDHJnB+Lf
        UCF3nL/Ba1ACoRuBuhSiaQD1eoFKGo42KFQbyz0xjLK/xBIbCMrYPBtZAoGAXX7n
        KtlgH2LHMCQf9vVcj58oKMWuoN81o4YW8IQCaQXA5jgUdgzoWg/9ySt46DJgBsJX
        52Xqr+n3NrHzg/Sm0Ji0ibtnJbxUDAiSW6BN+wEEZVDZdarXqSFW2exKsAgKhpmr
        JiosZ2GCFv9nY2V0+iGeP/Zi2q0ay8LfO76d6okCgYEA0vm9i8aGmSYbRzmaqyoP
        OTunCnI8TP7fdHil8/1BveJamAZLwlEs2BW1KvPlk03GbjIXYkpKO2i9m+uE0Mfx
        VpvjIKKUo6hU6m4yvs1x5n7iDyKjTGmvyyHSVSjgFPLYqGHWrpBCrZjWmZCKWEet
        4NgF6nDcaiNC/SYCsdn5ay4=
        -----END PRIVATE KEY-----
        """
}

"""JSON Web Tokens for the tests, made by PyJWT: an implementation that is not ours."""
import secrets
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from stack import http, wait_for

ALL = {"channels": {"subscribe": ["*"], "publish": ["*"]}, "pipelines": ["*"]}
PRIVATE = {}  # by algorithm: an RSA key takes a while


def private_key(alg):
    if alg not in PRIVATE:
        PRIVATE[alg] = {"HS256": lambda: secrets.token_urlsafe(32), "ES256": lambda: ec.generate_private_key(
            ec.SECP256R1()), "RS256": lambda: rsa.generate_private_key(65537, 2048)}[alg]()
    return PRIVATE[alg]


def public_pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM,
                                         serialization.PublicFormat.SubjectPublicKeyInfo).decode()


class Signer:
    """A signing key of a tenant; known at every edge when it is made."""

    def __init__(self, stack, tenant, alg="HS256", **doc):
        self.stack, self.tenant, self.alg, self.key = stack, tenant, alg, private_key(alg)
        material = {"secret": self.key} if alg == "HS256" else {"public_key": public_pem(self.key)}
        self.doc = stack.control().call("POST", f"/tenants/{tenant}/signing-keys", {"alg": alg, **material, **doc})[2]
        self.kid = self.doc["id"]
        for i in range(1, stack.counts["edge"] + 1):
            wait_for(f"{self.kid} at edge-{i}", lambda: http(
                "GET", stack.url(f"edge-{i}") + "/v1/channels/a/events", token=self.token())[0] == 200)

    def claims(self, sub="user-1", ttl=60, **claims):
        rights = {} if {"channels", "pipelines"} & set(claims) else ALL
        made = {"tenant": self.tenant, "sub": sub, "exp": time.time() + ttl, **rights, **claims}
        return {k: v for k, v in made.items() if v is not None}

    def token(self, headers=None, **claims):
        return jwt.encode(self.claims(**claims), self.key, self.alg, headers={"kid": self.kid, **(headers or {})})

    def revoke(self):
        path = f"/tenants/{self.tenant}/signing-keys/{self.kid}"
        control = self.stack.control()
        control.call("DELETE", path, headers={"If-Match": control.call("GET", path)[1]["ETag"]})

"""Makes tokens with PyJWT, and the set of the keys that verify them.

    tokens.py FOLDER    keys are FOLDER/{rsa,p256,p384,ed25519}.pem; prints {"jwks": …, "tokens": {name: token}}
"""

import json
import sys
import time
from pathlib import Path

import jwt
from jwt.algorithms import get_default_algorithms

folder = Path(sys.argv[1])
ALGORITHMS = {
    "RS256": "rsa", "RS512": "rsa", "PS256": "rsa", "ES256": "p256", "ES384": "p384", "EdDSA": "ed25519",
}
now = int(time.time())
claims = {
    "iss": "https://idp.example", "aud": ["tollgate"], "sub": "python", "tenant": "team-a",
    "iat": now, "nbf": now, "exp": now + 600,
}
known = get_default_algorithms()
keys, tokens = {}, {}
for algorithm, name in ALGORITHMS.items():
    private = (folder / f"{name}.pem").read_bytes()
    tokens[algorithm] = jwt.encode(claims, private, algorithm=algorithm, headers={"kid": name})
    public = known[algorithm].prepare_key((folder / f"{name}.pub.pem").read_bytes())
    keys[name] = {**json.loads(known[algorithm].to_jwk(public)), "kid": name, "use": "sig"}
tokens["HS256"] = jwt.encode({**claims, "iss": "https://secret.example"}, "s" * 32, algorithm="HS256")
for name, change in {
    "expired": {"exp": now - 3600},
    "early": {"nbf": now + 3600},
    "audience": {"aud": "another"},
    "issuer": {"iss": "https://evil.example"},
    "tenant": {"tenant": "nobody"},
    "narrow": {"models": ["gpt-4o"]},
    "limited": {"sub": "walter", "limits": {"rpm": 2}},
    "limited again": {"sub": "walter", "limits": {"rpm": 2}, "jti": "2"},
    "another subject": {"sub": "skyler", "limits": {"requests_per_minute": 2}},
    "mistaken": {"limits": {"rpm": "2"}},
    "disabled": {"tenant": "closed"},
    "method": {"tenant": "keys-only"},
}.items():
    private = (folder / "rsa.pem").read_bytes()
    tokens[name] = jwt.encode({**claims, **change}, private, algorithm="RS256", headers={"kid": "rsa"})
tokens["none"] = jwt.encode(claims, None, algorithm="none")
print(json.dumps({"jwks": {"keys": list(keys.values())}, "tokens": tokens}))

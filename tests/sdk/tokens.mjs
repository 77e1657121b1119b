// Makes tokens with jose, and the set of the keys that verify them.
//   tokens.mjs FOLDER    keys are FOLDER/{rsa,p256,p384,ed25519}.pem; prints {"jwks": …, "tokens": {name: token}}
import { readFileSync } from "node:fs";
import { createPublicKey } from "node:crypto";
import { SignJWT, exportJWK, importPKCS8 } from "jose";

const folder = process.argv[2];
const ALGORITHMS = { RS256: "rsa", PS384: "rsa", ES256: "p256", ES384: "p384", EdDSA: "ed25519" };
const keys = new Map();
const tokens = {};
for (const [alg, name] of Object.entries(ALGORITHMS)) {
  const pem = readFileSync(`${folder}/${name}.pem`, "utf8");
  tokens[alg] = await new SignJWT({ tenant: "team-a" })
    .setProtectedHeader({ alg, kid: name, typ: "JWT" })
    .setIssuer("https://idp.example")
    .setAudience("tollgate")
    .setSubject("node")
    .setIssuedAt()
    .setExpirationTime("10m")
    .sign(await importPKCS8(pem, alg));
  keys.set(name, { ...(await exportJWK(createPublicKey(pem))), kid: name, use: "sig" });
}
console.log(JSON.stringify({ jwks: { keys: [...keys.values()] }, tokens }));

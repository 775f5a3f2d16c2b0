"""Signatures as botocore and oauthlib make them, against tests/vectors/signing.

`python3 signing.py ../../../tests/vectors/signing` recomputes every signature of the published
cases and of random.json, and that file itself from its seed; `--write` writes it anew. The tests
of plugins/core sign the same requests. Needs `botocore` and `oauthlib`.
"""

import datetime
import hashlib
import json
import pathlib
import random
import sys
from urllib.parse import quote, unquote_to_bytes

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from oauthlib.oauth1.rfc5849 import signature as oauth

SEED, CASES = 20150830, 200
UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
# What a target may hold as it is, beside unreserved characters; `+` has two readings.
PLAIN = "!$'()*,:;@"
LETTERS = UNRESERVED + PLAIN + " /?=&+%\"<>[]{}|^`é字"


# AWS --------------------------------------------------------------------------------------

def aws(case_set, method, path, query, headers, content):
    """Signs exactly `headers`; `path` and `query` are in the form that the service has."""
    keys = Credentials(case_set["access_key_id"], case_set["secret_access_key"])
    kind = S3SigV4Auth if case_set["service"] == "s3" else SigV4Auth
    signer = kind(keys, case_set["service"], case_set["region"])
    host = dict(headers)["host"]
    url = f"https://{host}{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=url, data=content.encode())
    for name, value in headers:
        request.headers[name] = value
    when = datetime.datetime.fromtimestamp(case_set["time"], datetime.timezone.utc)
    request.context["timestamp"] = when.strftime("%Y%m%dT%H%M%SZ")
    canonical = signer.canonical_request(request)
    return signer.signature(signer.string_to_sign(request, canonical), request)


def canonical_query(text):
    pairs = [part.partition("=")[::2] for part in text.split("&") if part]
    return "&".join(f"{name}={value}" for name, value in pairs)


def check_sigv4(folder):
    count = 0
    for case_set in json.loads((folder / "sigv4.json").read_text())["sets"]:
        for case in case_set["cases"]:
            path, _, query = case["target"].partition("?")
            if case_set["service"] == "s3":
                path = quote(path, safe="/~")
            headers = [(name, value) for name, value in case["headers"]]
            query = canonical_query(query)
            made = aws(case_set, case["method"], path, query, headers, case["content"])
            assert made == case["signature"], case["name"]
            count += 1
    return count


# OAuth ------------------------------------------------------------------------------------

def oauth1(method, uri, form, parameters, secrets, algorithm):
    """The base string and the signature."""
    query = uri.partition("?")[2]
    sent = oauth.collect_parameters(uri_query=query, body=form)
    normal = oauth.normalize_parameters(sent + list(parameters))
    base = oauth.signature_base_string(method, oauth.base_string_uri(uri), normal)
    sign = {"HMAC-SHA1": oauth.sign_hmac_sha1, "HMAC-SHA256": oauth.sign_hmac_sha256}[algorithm]
    return base, sign(base, *secrets)


def check_oauth1(folder):
    cases = json.loads((folder / "oauth1.json").read_text())["cases"]
    for case in cases:
        uri = case["origin"] + case["target"]
        parameters = [tuple(pair) for pair in case["parameters"]]
        secrets = case["consumer_secret"], case["token_secret"]
        base, made = oauth1(case["method"], uri, case["form"], parameters, secrets, "HMAC-SHA1")
        assert base == case.get("base", base), case["source"]
        assert made == case.get("signature", made), case["source"]
    return len(cases)


# Random requests --------------------------------------------------------------------------

def word(dice, longest=10, letters=LETTERS):
    return "".join(dice.choice(letters) for _ in range(dice.randrange(1, longest)))


def written(dice, text, plain=PLAIN):
    """One of the ways in which `text` may stand in a target."""
    out = ""
    for byte in text.encode():
        letter, escape = chr(byte), f"%{byte:02X}"
        if letter in UNRESERVED:
            out += letter if dice.random() < 0.9 else escape
        elif letter in plain and dice.random() < 0.5:
            out += letter
        else:
            out += escape if dice.random() < 0.7 else escape.lower()
    return out


def pairs_of(dice):
    names = [word(dice, 6) for _ in range(dice.randrange(0, 5))]
    names += [name for name in names if dice.random() < 0.2]
    dice.shuffle(names)
    return [(name, "" if dice.random() < 0.2 else word(dice)) for name in names]


def query_of(dice, pairs):
    def one(name, value):
        name = written(dice, name)
        return name if not value and dice.random() < 0.5 else f"{name}={written(dice, value)}"
    return "&".join(one(name, value) for name, value in pairs)


def random_aws(dice):
    service = dice.choice(["s3", "s3", "execute-api", "dynamodb", "es"])
    case_set = {
        "access_key_id": word(dice, 20, "ABCDEFGHIJ0123456789"),
        "secret_access_key": word(dice, 40, UNRESERVED + "+/"),
        "region": dice.choice(["eu-west-1", "us-east-1", "cn-north-1"]),
        "service": service,
        "time": dice.randrange(1_400_000_000, 4_000_000_000),
    }
    segments = [word(dice, 8, LETTERS.replace("/", "").replace("%", "")) for _ in range(3)]
    segments = [segment if segment.strip(".") else "x" for segment in segments]
    path = "/" + "/".join(written(dice, segment) for segment in segments)
    pairs, content = pairs_of(dice), dice.choice(["", word(dice, 60)])
    method = dice.choice(["GET", "PUT", "POST", "DELETE"])
    authority = dice.choice(["bucket.s3.test", "api.test:8443", "api.test"])
    fields = [("content-type", dice.choice(["application/json", "text/plain;  a=b"]))]
    fields += [(f"x-amz-meta-{word(dice, 4, 'abc')}", word(dice, 12, "ab  c")) for _ in range(2)]
    fields = list(dict(fields).items())
    credential = [(name, case_set[name]) for name in ("access_key_id", "secret_access_key")]
    when = datetime.datetime.fromtimestamp(case_set["time"], datetime.timezone.utc)
    digest = hashlib.sha256(content.encode()).hexdigest()
    headers = fields + [
        ("host", authority),
        ("x-amz-content-sha256", digest),
        ("x-amz-date", when.strftime("%Y%m%dT%H%M%SZ")),
    ]
    if dice.random() < 0.5:
        credential.append(("session_token", word(dice, 80, UNRESERVED + "+/=")))
        headers.append(("x-amz-security-token", credential[-1][1]))
    plain = quote(unquote_to_bytes(path), safe="/~") if service == "s3" else path
    strict = [(quote(name, safe="~"), quote(value, safe="~")) for name, value in pairs]
    query = "&".join(f"{name}={value}" for name, value in strict)
    made = aws(case_set, method, plain, query, headers, content)
    target = path + (f"?{query_of(dice, pairs)}" if pairs else "")
    return {
        "style": "sigv4", "region": case_set["region"], "service": service,
        "time": case_set["time"], "nonce": "", "method": method, "authority": authority,
        "target": target, "fields": fields, "content": content, "credential": credential,
        "signature": made,
    }


def random_oauth(dice):
    algorithm = dice.choice(["HMAC-SHA1", "HMAC-SHA256"])
    credential = [("consumer_key", word(dice, 20)), ("consumer_secret", word(dice, 20))]
    token = dice.random() < 0.7
    if token:
        credential += [("token", word(dice, 20)), ("token_secret", word(dice, 20))]
    values = dict(credential)
    segments = [word(dice, 8, UNRESERVED + " é'") for _ in range(2)]
    segments = [segment if segment.strip(".") else "x" for segment in segments]
    path = "/" + "/".join(written(dice, segment) for segment in segments)
    pairs, form = pairs_of(dice), query_of(dice, pairs_of(dice))
    target = path + (f"?{query_of(dice, pairs)}" if pairs else "")
    method = dice.choice(["GET", "PUT", "POST", "DELETE"])
    authority = dice.choice(["api.test", "API.test:443", "api.test:8443"])
    nonce, time = f"{dice.getrandbits(128):032x}", dice.randrange(1_400_000_000, 4_000_000_000)
    parameters = [
        ("oauth_consumer_key", values["consumer_key"]), ("oauth_nonce", nonce),
        ("oauth_signature_method", algorithm), ("oauth_timestamp", str(time)),
        ("oauth_version", "1.0"),
    ]
    if token:
        parameters.append(("oauth_token", values["token"]))
    secrets = values["consumer_secret"], values.get("token_secret", "")
    uri = f"https://{authority}{target}"
    _, made = oauth1(method, uri, form, parameters, secrets, algorithm)
    return {
        "style": "oauth1", "method_name": algorithm, "time": time, "nonce": nonce,
        "method": method, "authority": authority, "target": target, "fields": [],
        "content": form, "credential": credential, "signature": made,
    }


def random_cases():
    dice = random.Random(SEED)
    return [random_aws(dice) if index % 2 else random_oauth(dice) for index in range(CASES)]


def document():
    note = "Made by tests/clients/python/signing.py with botocore and oauthlib."
    cases = ",\n".join(json.dumps(case) for case in random_cases())
    return f'{{"note": "{note}", "cases": [\n{cases}\n]}}\n'


def main(folder, write):
    if write:
        (folder / "random.json").write_text(document())
    count = check_sigv4(folder) + check_oauth1(folder)
    assert (folder / "random.json").read_text() == document(), "random.json is another"
    print(f"signing client: {count + CASES} passed")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), "--write" in sys.argv[2:])

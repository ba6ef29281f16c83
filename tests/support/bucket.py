"""moto as a store of buckets, behind a check of signatures: botocore makes each one anew.

Arguments: port, then for each account ID:KEY or ID:KEY:TOKEN. Requests with `Authorization: AWS test` are the tests' own.
"""
import datetime
import hmac
import sys
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

ACCOUNTS = dict((id, rest) for id, *rest in (argument.split(":") for argument in sys.argv[2:]))


def wrong(environ):
    """What is wrong with the signature of a request, as S3 names it."""
    url = urlsplit(environ["RAW_URI"])
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    signature = query.pop("X-Amz-Signature", None)
    if signature is None:
        return "AccessDenied"
    id, date, region, service, kind = query["X-Amz-Credential"].split("/")
    if id not in ACCOUNTS:
        return "InvalidAccessKeyId"
    if query.get("X-Amz-Security-Token") != (ACCOUNTS[id] + [None])[1]:
        return "InvalidToken"
    headers = {"host": environ["HTTP_HOST"]}
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            headers[name[5:].replace("_", "-").lower()] = value
    signed = query["X-Amz-SignedHeaders"].split(";")
    if any(name.startswith("x-amz-") and name not in signed for name in headers):
        return "AccessDenied"
    now = datetime.datetime.now(datetime.timezone.utc)
    began = datetime.datetime.strptime(query["X-Amz-Date"] + "+0000", "%Y%m%dT%H%M%SZ%z")
    if not -60 < (now - began).total_seconds() < int(query["X-Amz-Expires"]) or (service, kind) != ("s3", "aws4_request"):
        return "AccessDenied"
    request = AWSRequest(
        method=environ["REQUEST_METHOD"],
        url=f"http://{environ['HTTP_HOST']}{url.path}",
        params=sorted(query.items()),
        headers={name: headers[name] for name in signed},
    )
    request.context["timestamp"] = query["X-Amz-Date"]
    auth = S3SigV4QueryAuth(Credentials(id, ACCOUNTS[id][0]), "s3", region)
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    is_good = date == query["X-Amz-Date"][:8] and hmac.compare_digest(expected, signature)
    return None if is_good else "SignatureDoesNotMatch"


def checked(store):
    def serve(environ, start):
        code = None if environ.get("HTTP_AUTHORIZATION") == "AWS test" else wrong(environ)
        if code is None:
            return store(environ, start)
        start("403 Forbidden", [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>The signature does not hold.</Message></Error>".encode()]

    return serve


store = DomainDispatcherApplication(create_backend_app)
run_simple("127.0.0.1", int(sys.argv[1]), checked(store), threaded=True, request_handler=MotoRequestHandler)

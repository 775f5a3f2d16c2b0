"""AWS Secrets Manager as moto plays it, on a free port of 127.0.0.1.

Says in one line of JSON where it is and with which keys; then does what each line of stdin says,
and answers with one line. moto checks signatures and what a user may do, by botocore's own code;
an admin that only this file knows makes secrets. Ends with its input.
"""

import json
import sys

import boto3
import requests
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

REGION = "eu-west-1"


def client(service, url, keys):
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
    )


def user(iam, name, action, resource):
    iam.create_user(UserName=name)
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(document))
    return iam.create_access_key(UserName=name)["AccessKey"]


def main():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    # Until signatures are checked any keys do.
    iam = client("iam", url, {"AccessKeyId": "first", "SecretAccessKey": "first"})
    admin = client("secretsmanager", url, user(iam, "admin", "*", "*"))
    reader = user(iam, "reader", "secretsmanager:GetSecretValue", "*")
    nobody = user(iam, "nobody", "s3:GetObject", "*")
    requests.post(f"{url}/moto-api/reset-auth", data=b"0", timeout=10)
    keys = {
        name: [one["AccessKeyId"], one["SecretAccessKey"]]
        for name, one in (("reader", reader), ("nobody", nobody))
    }
    print(json.dumps({"port": port, "keys": keys}), flush=True)
    for line in sys.stdin:
        said = json.loads(line)
        done = getattr(admin, said["call"])(**said["with"])
        print(json.dumps({"version": done.get("VersionId")}), flush=True)
    server.stop()


main()

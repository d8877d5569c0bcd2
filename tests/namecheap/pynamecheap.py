"""Drives the fake server with PyNamecheap: list, add, delete, add 40 rows, and an error. Prints what it saw as JSON."""

import contextlib
import io
import json
import sys

from namecheap import Api, ApiError

endpoint, user, key = sys.argv[1:4]
api = Api(user, key, user, "127.0.0.1", sandbox=True, debug=False)
api.endpoint = endpoint


def rows():
    hosts = api.domains_dns_getHosts("example.com")
    return sorted([h["Name"], h["Type"], h["Address"], h["MXPref"], h["TTL"]] for h in hosts)


seen = {"start": rows()}
with contextlib.redirect_stdout(io.StringIO()):
    api.domains_dns_addHost(
        "example.com",
        {"RecordType": "TXT", "HostName": "Added", "Address": 'a+b & "c" <d> é', "MXPref": 10, "TTL": 300},
    )
    seen["added"] = rows()
    api.domains_dns_delHost(
        "example.com", {"Type": "A", "Name": "@", "Address": "192.0.2.13"}
    )
    seen["deleted"] = rows()
    api.domains_dns_setHosts(
        "example.com",
        [
            {"HostName": "n%d" % n, "RecordType": "CNAME", "Address": "example.net", "MXPref": "77"}
            for n in range(40)
        ],
    )
    seen["replaced"] = rows()
    try:
        api.domains_dns_getHosts("example.org")
    except ApiError as error:
        seen["unknown"] = [error.number, error.text]
    api.ApiKey = "wrong"
    try:
        api.domains_dns_getHosts("example.com")
    except ApiError as error:
        seen["wrong"] = [error.number, error.text]
print(json.dumps(seen))

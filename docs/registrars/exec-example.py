#!/usr/bin/env python3
"""A registrar for witness that keeps its zone in a JSON file: a pattern to start yours from.

    [registrars.example]
    kind = "exec"
    command = ["python3", "/usr/local/lib/witness/exec-example.py", "/var/lib/witness/zone.json"]

The file: {"serial": 1, "sets": [{"owner": "@", "type": "A", "ttl": 60, "addresses": ["192.0.2.11"]}]}.
Anything else in it is kept.  Replace load() and save() by calls to your provider.
"""

import fcntl
import json
import os
import sys


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def save(path, zone):
    """Writes beside the file and renames, so that nobody ever reads half of it."""
    beside = f"{path}.{os.getpid()}.tmp"
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(zone, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, path)


def find(zone, owner, rtype):
    for entry in zone["sets"]:
        if (entry["owner"], entry["type"]) == (owner, rtype):
            return entry
    return None


def reading(zone, keys):
    """Every set that was asked for is in the answer; one that does not exist has no addresses."""
    sets = []
    for key in keys:
        entry = find(zone, key["owner"], key["type"])
        sets.append({
            "owner": key["owner"],
            "type": key["type"],
            "ttl": entry["ttl"] if entry else 0,
            "addresses": entry["addresses"] if entry else [],
        })
    return {"sets": sets, "token": str(zone["serial"]), "preimage": zone}


def apply(zone, changes):
    """Changes `zone` and returns the outcome.  Compares before it changes anything: all or nothing."""
    for change in changes:
        entry = find(zone, change["set"]["owner"], change["set"]["type"])
        stands = set(entry["addresses"]) if entry else set()
        if stands != set(change["before"]):
            return {"outcome": "conflict", "why": f"{change['set']['owner']} holds {sorted(stands)}"}
    for change in changes:
        owner, rtype = change["set"]["owner"], change["set"]["type"]
        entry = find(zone, owner, rtype)
        if entry is None:
            entry = {"owner": owner, "type": rtype, "ttl": change["ttl"], "addresses": []}
            zone["sets"].append(entry)
        kept = [address for address in entry["addresses"] if address not in change["remove"]]
        entry["addresses"] = kept + change["add"]
    zone["serial"] += 1
    return {"outcome": "applied", "receipt": f"serial {zone['serial']}"}


def answer(request, path):
    if request["version"] != 1:
        return {"error": {"kind": "permanent", "why": f"version {request['version']} is not known here"}}
    op = request["op"]
    if op == "describe":
        return {"compare_and_swap": "atomic"}
    # One writer at a time; with a provider, use what it has for that.
    with open(f"{path}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            zone = load(path)
        except (OSError, ValueError) as error:
            return {"error": {"kind": "permanent", "why": f"{path}: {error}"}}
        if op in ("observe", "confirm"):
            return reading(zone, request["sets"])
        if op == "restore-info":
            return {"restore": zone}
        if op == "apply":
            outcome = apply(zone, request["plan"]["changes"])
            if outcome["outcome"] == "applied":
                save(path, zone)
            return outcome
    return {"error": {"kind": "permanent", "why": f"{op} is not known here"}}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin), sys.argv[1]), sys.stdout)

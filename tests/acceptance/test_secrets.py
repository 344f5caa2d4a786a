"""Forty secrets in eight forms, written in pieces: none is stored or sent anywhere."""

from __future__ import annotations

import random
import sys

from tests.helpers.api import Api
from tests.helpers.build_logs import random_secret
from tests.helpers.processes import Process, Workplace

NUMBER = 40
PRINTER = """
import base64, json, os, sys, time, urllib.parse
def forms(s):
    b = s.encode()
    yield s
    yield urllib.parse.quote(s, safe="")
    yield urllib.parse.quote_plus(s)
    yield base64.b64encode(b).decode()
    yield base64.b64encode(b"x" + b).decode()
    yield base64.b64encode(b"xy" + b + b"z").decode()
    yield base64.urlsafe_b64encode(b).decode()
    yield json.dumps(s)[1:-1]
for number in range(int(sys.argv[1])):
    for form in forms(os.environ[f"SECRET_TOKEN_{number}"]):
        half = len(form) // 2
        out = sys.stdout if number % 2 else sys.stderr
        out.write(f"{number} [" + form[:half]); out.flush()
        time.sleep(0.001)
        out.write(form[half:] + "]\\n"); out.flush()
"""


def test_forty_secrets_in_eight_forms_are_stored_nowhere(
    workplace: Workplace, mortal_api: tuple[Process, Api]
) -> None:
    _, api = mortal_api
    chance = random.Random(7)
    secrets = [random_secret(chance, 12 + number) for number in range(NUMBER)]
    variables = {f"SECRET_TOKEN_{number}": secret for number, secret in enumerate(secrets)}
    printer = workplace.write_script("printer.py", PRINTER)
    daemon = workplace.daemon(KERUTA_PASS_ENVIRONMENT="SECRET_TOKEN_*", **variables)

    task_id = api.file_task(f"{sys.executable} {printer} {NUMBER}; keruta progress 50; exit 3")

    assert api.wait_for(task_id)["status"] == "FAILED"
    assert len(api.logs(task_id)) >= NUMBER * 8
    assert daemon.stop() == 0
    stored = list(workplace.base_dir.glob("*.db*"))
    stored += [path for path in (workplace.path / "server").rglob("*") if path.is_file()]
    data = b"".join(path.read_bytes() for path in stored) + daemon.err.encode()
    namespace: dict[str, object] = {}
    exec(PRINTER.split("for number")[0], namespace)
    forms = namespace["forms"]
    shown = [form for secret in secrets for form in forms(secret) if form.encode() in data]
    assert shown == []
    assert data.count(b"***") >= NUMBER

"""CodeBuild that really runs the buildspec: the JSON 1.1 protocol, a shell, and nothing else.

    python codebuild.py --fd LISTENING_SOCKET --run DIRECTORY

Builds (StartBuild, BatchGetBuilds, StopBuild, ListBuilds, ListBuildsForProject) are answered here; every other
operation (CreateProject, BatchGetProjects, ...) is passed on to the main emulator, where CloudFormation creates the
projects. A build runs the phases of its buildspec in one shell, as version 0.2 of the format says: variables and the
working directory last from one command to the next, a failed `install` or `pre_build` skips `build`, `post_build`
runs even after a failed `build`, `finally` always. Its log is in `DIRECTORY/builds/<id>/log` and in the log group
`/aws/codebuild/<project>` of the main emulator. `packer` is `packer.py` beside this file.
"""

import argparse
import io
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

ACCOUNT = "123456789012"
REGION = os.environ["AWS_REGION"]
ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
PHASES = ["install", "pre_build", "build", "post_build"]
PREFIX = "CodeBuild_20161006."
LOG_CHUNK = 1000


class Refused(Exception):
    """An error of the API: its name and message."""

    def __init__(self, name, message):
        super().__init__(message)
        self.name = name


class BuildFailed(Exception):
    """A phase that cannot go on, with the status code CodeBuild shows for it."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def authorization(service):
    """The emulators read account and region from the credential's scope; the signature is not checked."""
    scope = f"{ACCOUNT}/{time.strftime('%Y%m%d')}/{REGION}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"


def call(service, target, body, version="1.1"):
    """One call of the JSON protocol at the main emulator."""
    request = urllib.request.Request(
        ENDPOINT,
        data=json.dumps(body).encode(),
        headers={
            "Content-Type": f"application/x-amz-json-{version}",
            "X-Amz-Target": target,
            "Authorization": authorization(service),
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"{}")


def s3_object(location):
    """The bytes of `bucket/key` (an ARN's prefix is taken off)."""
    bucket, _, key = location.removeprefix("arn:aws:s3:::").partition("/")
    url = f"{ENDPOINT}/{urllib.parse.quote(bucket)}/{urllib.parse.quote(key)}"
    request = urllib.request.Request(url, headers={"Authorization": authorization("s3")})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def variable_value(variable):
    """The value of one environment variable, read from where its type says."""
    kind, value = variable.get("type", "PLAINTEXT"), variable["value"]
    if kind == "PARAMETER_STORE":
        answer = call("ssm", "AmazonSSM.GetParameter", {"Name": value, "WithDecryption": True})
        return answer["Parameter"]["Value"]
    if kind == "SECRETS_MANAGER":
        name, key = (value.split(":") + [""])[:2] if not value.startswith("arn:") else (value, "")
        secret = call("secretsmanager", "secretsmanager.GetSecretValue", {"SecretId": name})["SecretString"]
        return str(json.loads(secret)[key]) if key else secret
    return value


class Build:
    """One build: its record as BatchGetBuilds answers it, and the thread that runs it."""

    def __init__(self, directory, scripts, project, request, number):
        self.scripts, self.project, self.request = scripts, project, request
        self.token = str(uuid.uuid4())
        self.directory = os.path.join(directory, "builds", self.token)
        self.source_directory = os.path.join(self.directory, "src")
        os.makedirs(os.path.join(self.directory, "variables"))
        os.makedirs(self.source_directory)
        self.process, self.stopped = None, False
        self.lines, self.sent = [], 0
        self.lock = threading.Lock()
        name = project["name"]
        identity = f"{name}:{self.token}"
        self.record = {
            "id": identity,
            "arn": f"arn:aws:codebuild:{REGION}:{ACCOUNT}:build/{identity}",
            "buildNumber": number,
            "startTime": time.time(),
            "currentPhase": "SUBMITTED",
            "buildStatus": "IN_PROGRESS",
            "buildComplete": False,
            "projectName": name,
            "initiator": "local",
            "phases": [],
            "source": project.get("source", {"type": "NO_SOURCE"}),
            "artifacts": {"location": ""},
            "environment": project.get("environment", {}),
            "serviceRole": project.get("serviceRole", ""),
            "timeoutInMinutes": request.get("timeoutInMinutesOverride") or project.get("timeoutInMinutes") or 60,
            "logs": {
                "groupName": f"/aws/codebuild/{name}",
                "streamName": self.token,
                "deepLink": f"file://{self.directory}/log",
            },
            "exportedEnvironmentVariables": [],
        }

    # -- log and phases

    def log(self, text):
        stamped = time.strftime("[Container] %Y/%m/%d %H:%M:%S ", time.gmtime())
        self.output(stamped + text)

    def output(self, line):
        with self.lock:
            self.lines.append({"timestamp": int(time.time() * 1000), "message": line or " "})
            with open(os.path.join(self.directory, "log"), "a", encoding="utf-8") as log:
                log.write(line + "\n")

    def send_log(self):
        """Writes what is new to the log group. The build does not fail because of it."""
        group, stream = self.record["logs"]["groupName"], self.record["logs"]["streamName"]
        if not self.sent:
            for target, body in (
                ("Logs_20140328.CreateLogGroup", {"logGroupName": group}),
                ("Logs_20140328.CreateLogStream", {"logGroupName": group, "logStreamName": stream}),
            ):
                try:
                    call("logs", target, body)
                except OSError:
                    pass  # it exists, or the emulator is ending
        while self.sent < len(self.lines):
            events = self.lines[self.sent : self.sent + LOG_CHUNK]
            body = {"logGroupName": group, "logStreamName": stream, "logEvents": events}
            try:
                call("logs", "Logs_20140328.PutLogEvents", body)
            except OSError:
                return
            self.sent += len(events)

    def phase(self, name, started, status, message=""):
        """Notes that a phase is over."""
        now = time.time()
        entry = {
            "phaseType": name,
            "phaseStatus": status,
            "startTime": started,
            "endTime": now,
            "durationInSeconds": int(now - started),
        }
        if message:
            entry["contexts"] = [{"statusCode": message[0], "message": message[1]}]
        with self.lock:
            self.record["phases"].append(entry)
        self.log(f"Phase complete: {name} State: {status}")

    def enter(self, name):
        with self.lock:
            self.record["currentPhase"] = name
        return time.time()

    # -- what is to be run

    def buildspec(self):
        """The buildspec of the request, else the project's; text, or the name of a file in the source."""
        text = self.request.get("buildspecOverride") or self.record["source"].get("buildspec") or ""
        if "\n" not in text and not text.lstrip().startswith("{"):
            path = os.path.join(self.source_directory, text or "buildspec.yml")
            if not os.path.isfile(path):
                raise BuildFailed("YAML_FILE_ERROR", f"no buildspec in the project, and no file `{text or 'buildspec.yml'}`")
            with open(path, encoding="utf-8") as content:
                text = content.read()
        try:
            spec = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise BuildFailed("YAML_FILE_ERROR", f"the buildspec is not YAML: {error}") from error
        if not isinstance(spec, dict) or not isinstance(spec.get("phases"), dict):
            raise BuildFailed("YAML_FILE_ERROR", "the buildspec has no `phases`")
        return spec

    def download_source(self):
        source = dict(self.record["source"])
        if self.request.get("sourceTypeOverride"):
            source["type"] = self.request["sourceTypeOverride"]
        if self.request.get("sourceLocationOverride"):
            source["location"] = self.request["sourceLocationOverride"]
        self.record["source"] = source
        kind = source.get("type", "NO_SOURCE")
        if kind in ("NO_SOURCE", "CODEPIPELINE"):
            return
        if kind != "S3":
            raise BuildFailed("CLIENT_ERROR", f"source type `{kind}` is not available in the local cloud; use S3 or NO_SOURCE")
        try:
            with zipfile.ZipFile(io.BytesIO(s3_object(source["location"]))) as archive:
                archive.extractall(self.source_directory)
        except (OSError, zipfile.BadZipFile) as error:
            raise BuildFailed("CLIENT_ERROR", f"source `{source.get('location')}`: {error}") from error

    def environment(self, spec):
        """The build's variables: buildspec, then project, then request, each over the one before."""
        variables = {name: str(value) for name, value in (spec.get("env", {}).get("variables") or {}).items()}
        given = list(self.project.get("environment", {}).get("environmentVariables") or [])
        given += self.request.get("environmentVariablesOverride") or []
        for variable in given:
            try:
                variables[variable["name"]] = variable_value(variable)
            except (OSError, KeyError, ValueError) as error:
                raise BuildFailed("CLIENT_ERROR", f"environment variable `{variable.get('name')}`: {error}") from error
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        record = self.record
        return inherited | {
            "PATH": self.packer_directory() + os.pathsep + inherited.get("PATH", "/usr/bin:/bin"),
            "CI": "true",
            "CODEBUILD_BUILD_ID": record["id"],
            "CODEBUILD_BUILD_ARN": record["arn"],
            "CODEBUILD_BUILD_NUMBER": str(record["buildNumber"]),
            "CODEBUILD_INITIATOR": record["initiator"],
            "CODEBUILD_LOG_PATH": self.token,
            "CODEBUILD_SRC_DIR": self.source_directory,
            "CODEBUILD_START_TIME": str(int(record["startTime"] * 1000)),
            "CODEBUILD_BUILD_SUCCEEDING": "1",
        } | variables

    def packer_directory(self):
        """A directory with the `packer` that creates images in this cloud."""
        directory = os.path.join(self.directory, "bin")
        os.makedirs(directory, exist_ok=True)
        program = os.path.join(directory, "packer")
        with open(program, "w", encoding="utf-8") as script:
            script.write(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(self.scripts)}/packer.py "$@"\n')
        os.chmod(program, 0o755)
        return directory

    def script(self, spec):
        """The shell program of the whole build. It reports on file descriptor 3: `start PHASE`, `end PHASE CODE`.

        Each command is a file that is sourced, so that user text never becomes part of this program.
        """
        commands = os.path.join(self.directory, "commands")
        os.makedirs(commands)
        lines = ["CODEBUILD_BUILD_SUCCEEDING=1; export CODEBUILD_BUILD_SUCCEEDING", "skip=0"]
        # `env.exported-variables` are read when the shell ends, whatever ended it.
        exports = [name for name in spec.get("env", {}).get("exported-variables") or [] if str(name).isidentifier()]
        lines.append("_gennaker_exports() {")
        for name in exports:
            target = shlex.quote(os.path.join(self.directory, "variables", name))
            lines.append(f'  printf %s "${{{name}-}}" > {target}')
        lines += ["  :", "}", "trap _gennaker_exports EXIT"]
        for phase in PHASES:
            content = spec["phases"].get(phase) or {}
            needs = 'if [ "$skip" = 0 ]; then'
            lines += [needs, f"echo start {phase} >&3", "code=0"]
            for part in ("commands", "finally"):
                given = content.get(part) or []
                for number, command in enumerate([given] if isinstance(given, str) else given):
                    path = os.path.join(commands, f"{phase}-{part}-{number}")
                    with open(path, "w", encoding="utf-8") as out:
                        out.write(f"{command}\n")
                    guard = '[ "$code" != 0 ] ||' if part == "commands" else ":;"
                    lines.append(f'{guard} {{ echo "run {path}" >&3; . {shlex.quote(path)}; last=$?; }}')
                    lines.append('[ "$code" != 0 ] || code=${last:-0}; last=0')
            goes_on = str(content.get("on-failure", "")).upper() == "CONTINUE"
            lines.append(f'echo "end {phase} $code" >&3')
            failed = "CODEBUILD_BUILD_SUCCEEDING=0; export CODEBUILD_BUILD_SUCCEEDING"
            # Only a failed `build` is followed by the next phase.
            stop = "" if goes_on or phase == "build" else "; skip=1"
            lines += [f'if [ "$code" != 0 ]; then {failed}{stop}; fi', "fi"]
        path = os.path.join(self.directory, "build.sh")
        with open(path, "w", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")
        return path

    # -- running

    def run(self):
        """Runs the build to its end; whatever happens it has a final status."""
        status = "FAULT"
        try:
            status = self.run_phases()
        except Exception as error:
            self.log(f"the build runner failed: {type(error).__name__}: {error}")
        if self.stopped:
            status = "STOPPED"
        started = self.enter("FINALIZING")
        self.phase("FINALIZING", started, "SUCCEEDED")
        with self.lock:
            record = self.record
            record["phases"].append({"phaseType": "COMPLETED", "startTime": time.time()})
            record["endTime"] = time.time()
            record["exportedEnvironmentVariables"] = self.exported()
            record["currentPhase"], record["buildStatus"], record["buildComplete"] = "COMPLETED", status, True
        self.send_log()

    def exported(self):
        found, directory = [], os.path.join(self.directory, "variables")
        for name in sorted(os.listdir(directory)):
            with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as value:
                found.append({"name": name, "value": value.read()})
        return found

    def run_phases(self):
        for name in ("SUBMITTED", "QUEUED", "PROVISIONING"):
            self.phase(name, self.enter(name), "SUCCEEDED")
        started = self.enter("DOWNLOAD_SOURCE")
        try:
            self.download_source()
            spec = self.buildspec()
            environment = self.environment(spec)
            script = self.script(spec)
        except BuildFailed as failed:
            self.log(f"{failed.code}: {failed}")
            self.phase("DOWNLOAD_SOURCE", started, "FAILED", (failed.code, str(failed)))
            return "FAILED"
        self.phase("DOWNLOAD_SOURCE", started, "SUCCEEDED")
        self.send_log()
        return self.run_shell(script, environment, "bash" if spec.get("env", {}).get("shell") == "bash" else "sh")

    def run_shell(self, script, environment, shell):
        reader, writer = os.pipe()
        # fd 3 in the shell, whichever number the pipe has here: `3>&10` is no syntax of dash, /dev/fd/10 is.
        command = [shutil.which(shell) or "/bin/sh", "-c", f'exec 3>/dev/fd/{writer}; . "$0"', script]
        self.process = subprocess.Popen(
            command,
            cwd=self.source_directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(writer,),
            start_new_session=True,
        )
        os.close(writer)
        minutes = float(self.record["timeoutInMinutes"])
        timed_out = threading.Event()

        def time_out():
            timed_out.set()
            self.kill()

        timer = threading.Timer(minutes * 60, time_out)
        timer.daemon = True
        timer.start()
        printer = threading.Thread(target=self.copy_output, daemon=True)
        printer.start()
        failed, current, started = False, None, time.time()
        # A background process of the build may keep the pipe open, but only the shell's own end counts.
        with os.fdopen(reader, encoding="utf-8", errors="replace") as reports:
            for report in reports:
                words = report.split()
                if words[0] == "start":
                    current = words[1]
                    started = self.enter(current.upper())
                    self.log(f"Entering phase {current.upper()}")
                elif words[0] == "run":
                    with open(report[4:].rstrip("\n"), encoding="utf-8") as command:
                        self.log("Running command " + command.read().rstrip())
                elif words[0] == "end":
                    failed |= self.end_phase(words[1], started, int(words[2]))
                    current = None
                    self.send_log()
        code = self.process.wait()
        printer.join(timeout=2)
        timer.cancel()
        if current is not None:  # `exit` in a command, a kill, or the time limit
            failed |= self.end_phase(current, started, code or 0, stopped=self.stopped, timed_out=timed_out.is_set())
            failed |= code != 0
        if timed_out.is_set():
            return "TIMED_OUT"
        return "FAILED" if failed else "SUCCEEDED"

    def end_phase(self, name, started, code, stopped=False, timed_out=False):
        """Notes the end of a phase of the buildspec; true when it failed."""
        if timed_out:
            self.phase(name.upper(), started, "TIMED_OUT", ("BUILD_TIMED_OUT", "the build's time limit was reached"))
        elif stopped:
            self.phase(name.upper(), started, "STOPPED")
        elif code:
            message = ("COMMAND_EXECUTION_ERROR", f"Error while executing command. Reason: exit status {code}")
            self.phase(name.upper(), started, "FAILED", message)
        else:
            self.phase(name.upper(), started, "SUCCEEDED")
        return bool(code) or timed_out

    def copy_output(self):
        for line in io.TextIOWrapper(self.process.stdout, encoding="utf-8", errors="replace"):
            self.output(line.rstrip("\n"))

    def stop(self):
        self.stopped = True
        self.kill()

    def kill(self):
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def answer(self):
        with self.lock:
            return json.loads(json.dumps(self.record))


class Builds:
    """All builds of this cloud, and the operations on them."""

    def __init__(self, directory):
        self.directory, self.scripts = directory, os.path.dirname(os.path.abspath(__file__))
        self.builds = {}
        self.by_token = {}
        self.lock = threading.Lock()

    def start(self, request):
        token = request.get("idempotencyToken")
        with self.lock:
            if token and token in self.by_token:
                return {"build": self.by_token[token].answer()}
            name = request.get("projectName", "").rpartition("project/")[2]
            projects = call("codebuild", PREFIX + "BatchGetProjects", {"names": [name]}).get("projects", [])
            if not projects:
                raise Refused("ResourceNotFoundException", f"Project cannot be found: {name}")
            build = Build(self.directory, self.scripts, projects[0], request, len(self.builds) + 1)
            self.builds[build.record["id"]] = build
            if token:
                self.by_token[token] = build
        answer = {"build": build.answer()}
        threading.Thread(target=build.run, daemon=True).start()
        return answer

    def find(self, identity):
        return self.builds.get(identity.rpartition("build/")[2])

    def batch_get(self, request):
        found, missing = [], []
        for identity in request.get("ids", []):
            build = self.find(identity)
            if build is None:
                missing.append(identity)
            else:
                found.append(build.answer())
        return {"builds": found, "buildsNotFound": missing}

    def stop(self, request):
        build = self.find(request.get("id", ""))
        if build is None:
            raise Refused("ResourceNotFoundException", f"Build cannot be found: {request.get('id')}")
        build.stop()
        return {"build": build.answer()}

    def list(self, request):
        name = request.get("projectName")
        ids = [i for i, build in self.builds.items() if name is None or build.record["projectName"] == name]
        return {"ids": list(reversed(ids))}

    def operation(self, name):
        return {
            "StartBuild": self.start,
            "BatchGetBuilds": self.batch_get,
            "StopBuild": self.stop,
            "ListBuilds": self.list,
            "ListBuildsForProject": self.list,
        }.get(name)


def handler_class(builds):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments):
            pass

        def reply(self, status, body, kind="application/x-amz-json-1.1"):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.reply(200, b"ok", "text/plain")

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            target = self.headers.get("X-Amz-Target", "")
            operation = builds.operation(target.removeprefix(PREFIX))
            try:
                if operation is None:
                    self.reply(*pass_on(body, self.headers))
                else:
                    self.reply(200, json.dumps(operation(json.loads(body or b"{}"))).encode())
            except Refused as refused:
                self.reply(400, json.dumps({"__type": refused.name, "message": str(refused)}).encode())
            except Exception as error:
                message = f"{type(error).__name__}: {error}"
                self.reply(500, json.dumps({"__type": "InternalFailure", "message": message}).encode())

    return Handler


def pass_on(body, headers):
    """The main emulator's answer to an operation that is not about builds."""
    names = ("Content-Type", "X-Amz-Target", "Authorization", "X-Amz-Date", "X-Amz-Security-Token")
    kept = {name: headers[name] for name in names if headers.get(name)}
    try:
        with urllib.request.urlopen(urllib.request.Request(ENDPOINT, data=body, headers=kept), timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--run", required=True)
    arguments = parser.parse_args()
    builds = Builds(arguments.run)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_class(builds), bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=arguments.fd)
    server.server_address = server.socket.getsockname()

    def end(_number, _frame):
        for build in list(builds.builds.values()):
            build.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    server.serve_forever()


if __name__ == "__main__":
    main()

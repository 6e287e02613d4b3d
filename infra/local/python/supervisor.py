"""Starts the processes of one local cloud, watches them, and ends every one of them.

    python supervisor.py SPEC.json

The specification: {"run": directory, "scripts": directory, "bin": the virtual environment's bin directory,
"port": 0 or the wanted port of the main emulator, "wait_scale": number, "detached": bool,
"state": path of the state file or null, "path": PATH for functions and builds, "function_environment": what
functions have in their environment besides}.

One JSON object a line is written to standard output: {"event": "waiting", "name"} while a process is not
answering yet, {"event": "ready", "endpoints", "pids", "environment"} once, and {"event": "failed", "name",
"reason", "log"} or {"event": "died", ...} when it has to give up. It ends, with all it started, when

* its standard input is closed (the process that started it ended, however it ended), unless detached;
* the file `stop` appears in the run directory (`gennaker local down`);
* SIGTERM arrives;
* one of the processes it started ends by itself.

Only the standard library is used, so that it starts in a few milliseconds.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ACCOUNT = "123456789012"
REGION = "us-east-1"
READY_SECONDS = 60.0
GRACE_SECONDS = 5.0
LOG_TAIL_BYTES = 2000
PORT_TRIES = 5

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def process_control(option, value):
    """Calls prctl(2). Where it does not exist (macOS) the process groups alone have to do."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def end_with_supervisor():
    """Runs in each new process: SIGTERM reaches it even when the supervisor itself was killed with SIGKILL."""
    process_control(PR_SET_PDEATHSIG, signal.SIGTERM)


def listening_socket():
    """A listening loopback socket on a free port. It is handed to the process, so nobody can take the port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def free_port():
    """A port that was free a moment ago, for the one process that cannot be handed a socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def in_use(port):
    """True when something answers on the port or it cannot be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


class Problem(Exception):
    """The cloud cannot be started or went on; `name` is the process, `event` is `failed` or `died`."""

    def __init__(self, event, name, reason, log=""):
        super().__init__(reason)
        self.event, self.name, self.reason, self.log = event, name, reason, log


class Supervisor:
    """All the processes of one local cloud."""

    def __init__(self, spec):
        self.spec = spec
        self.run = spec["run"]
        self.children = {}  # name -> Popen
        self.ended = {}  # pid -> wait status of processes already collected
        self.stopping = False
        self.attached = not spec["detached"]

    def say(self, event, **fields):
        """Reports one event. A reader that has gone away is not an error: a detached cloud outlives it."""
        try:
            print(json.dumps({"event": event, **fields}), flush=True)
        except (BrokenPipeError, OSError):
            sys.stdout = open(os.devnull, "w", encoding="utf-8")

    def log_path(self, name):
        return os.path.join(self.run, f"{name}.log")

    def log_tail(self, name):
        try:
            with open(self.log_path(name), "rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - LOG_TAIL_BYTES))
                return log.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def spawn(self, name, argv, environment, keep=()):
        """Starts a process in a session of its own: Ctrl-C in the terminal is for the command line only."""
        with open(self.log_path(name), "ab") as log:
            self.children[name] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.run,
                pass_fds=keep,
                start_new_session=True,
                preexec_fn=end_with_supervisor,
            )

    def collect(self):
        """Collects every ended process, adopted grandchildren included, so that none stays a zombie."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.ended[pid] = status

    def end_of(self, name):
        """How the process ended, or None while it lives."""
        self.collect()
        status = self.ended.get(self.children[name].pid)
        if status is None:
            return None
        if os.WIFSIGNALED(status):
            return f"killed by signal {os.WTERMSIG(status)}"
        return f"exit status {os.WEXITSTATUS(status)}"

    def stop_wanted(self, seconds):
        """Waits up to `seconds`; true when the cloud is to end."""
        if self.attached:
            readable, _, _ = select.select([sys.stdin], [], [], seconds)
            if readable and not os.read(sys.stdin.fileno(), 4096):
                return True
        else:
            time.sleep(seconds)
        return self.stopping or os.path.exists(os.path.join(self.run, "stop"))

    def wait_until_answering(self, name, url):
        """Polls the process's health page. False when the cloud is to end meanwhile."""
        self.say("waiting", name=name)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            end = self.end_of(name)
            if end is not None:
                raise Problem("failed", name, f"ended while starting: {end}", self.log_tail(name))
            try:
                with urllib.request.urlopen(url, timeout=2):
                    return True
            except OSError:
                if self.stop_wanted(0.03):
                    return False
        raise Problem("failed", name, f"did not answer within {READY_SECONDS:.0f} s", self.log_tail(name))

    def base_environment(self):
        """What every process gets. Nothing else of the caller's environment: a proxy or a profile set there
        would send calls away from this machine, and functions inherit the main emulator's environment."""
        environment = {
            "PATH": self.spec["path"],
            "HOME": self.run,
            "LANG": "C.UTF-8",
            "TMPDIR": os.path.join(self.run, "tmp"),
            "PYTHONUNBUFFERED": "1",
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "local",
            # Functions have one on AWS, and would get an empty one here.
            "AWS_SESSION_TOKEN": "local",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        os.makedirs(environment["TMPDIR"], exist_ok=True)
        return environment

    def endpoints(self, port, world_port, codebuild_port):
        """Which service is answered where, as the SDK's own environment variables name it."""
        aws, world = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{world_port}"
        return {
            "AWS_ENDPOINT_URL": aws,
            "AWS_ENDPOINT_URL_EC2": world,
            "AWS_ENDPOINT_URL_AUTO_SCALING": world,
            "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2": world,
            "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING": world,
            "AWS_ENDPOINT_URL_STS": world,
            "AWS_ENDPOINT_URL_CODEBUILD": f"http://127.0.0.1:{codebuild_port}",
        }

    def start(self):
        """Starts everything and reports `ready`. False when the cloud is to end meanwhile."""
        wanted = self.spec["port"]
        if wanted and in_use(wanted):
            raise Problem("failed", "ministack", f"port {wanted} is in use")
        world, codebuild = listening_socket(), listening_socket()
        ports = world.getsockname()[1], codebuild.getsockname()[1]
        port = wanted or free_port()
        for attempt in range(1, PORT_TRIES + 1):
            settings = self.base_environment() | self.endpoints(port, *ports)
            if attempt == 1:
                # The main emulator's port can only change before anything answered.
                self.start_python("world", settings, world)
                self.start_python("codebuild", settings, codebuild)
            self.spawn(
                "ministack",
                [
                    os.path.join(self.spec["bin"], "python"),
                    os.path.join(self.spec["scripts"], "emulator.py"),
                ],
                settings
                | {
                    "GATEWAY_PORT": str(port),
                    "BIND_HOST": "127.0.0.1",
                    # In the addresses of HTTP APIs, where a name may stand before it.
                    "MINISTACK_HOST": "localhost",
                    "MINISTACK_ACCOUNT_ID": ACCOUNT,
                    "MINISTACK_REGION": REGION,
                    "SFN_WAIT_SCALE": repr(self.spec["wait_scale"]),
                    # Its MQTT listener would take port 8883 on every interface.
                    "IOT_MTLS_ENABLED": "0",
                    "LOG_LEVEL": "WARNING",
                }
                # Functions have the environment of the emulator that starts them.
                | self.spec["function_environment"],
            )
            try:
                if not self.wait_until_answering("ministack", f"http://127.0.0.1:{port}/_ministack/health"):
                    return False
                break
            except Problem as problem:
                if wanted or attempt == PORT_TRIES or "in use" not in problem.log:
                    raise
                port = free_port()
        for name, listener in (("world", world), ("codebuild", codebuild)):
            if not self.wait_until_answering(name, f"http://127.0.0.1:{listener.getsockname()[1]}/_health"):
                return False
            listener.close()
        visible = {k: v for k, v in settings.items() if k.startswith("AWS_")}
        endpoints = {
            "aws": visible["AWS_ENDPOINT_URL"],
            "ec2": visible["AWS_ENDPOINT_URL_EC2"],
            "autoscaling": visible["AWS_ENDPOINT_URL_AUTO_SCALING"],
            "elasticloadbalancing": visible["AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2"],
            "sts": visible["AWS_ENDPOINT_URL_STS"],
            "codebuild": visible["AWS_ENDPOINT_URL_CODEBUILD"],
        }
        ready = {
            "endpoints": endpoints,
            "pids": [os.getpid()] + [child.pid for child in self.children.values()],
            "environment": visible,
        }
        if self.spec["state"]:
            state = self.spec["state"]
            with open(state + ".new", "w", encoding="utf-8") as out:
                json.dump(ready | {"run": self.run, "supervisor": os.getpid()}, out, indent=1)
            os.replace(state + ".new", state)
        self.say("ready", **ready)
        return True

    def start_python(self, name, environment, listener):
        script = os.path.join(self.spec["scripts"], f"{name}.py")
        arguments = ["--fd", str(listener.fileno()), "--run", self.run]
        python = os.path.join(self.spec["bin"], "python")
        self.spawn(name, [python, script, *arguments], environment, keep=(listener.fileno(),))

    def watch(self):
        """Returns when the cloud is to end; raises when one of its processes ended by itself."""
        while not self.stop_wanted(0.1):
            for name in self.children:
                end = self.end_of(name)
                if end is not None:
                    raise Problem("died", name, end, self.log_tail(name))

    def descendants(self):
        """Every living process below this one. Orphans come to it, because it is their subreaper."""
        parents = {}
        if not os.path.isdir("/proc/self"):
            return []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                        fields = stat.read().rpartition(")")[2].split()
                except OSError:
                    continue
                if fields[0] != "Z":
                    parents.setdefault(int(fields[1]), []).append(int(entry))
        found, queue = [], [os.getpid()]
        while queue:
            for child in parents.get(queue.pop(), []):
                found.append(child)
                queue.append(child)
        return found

    def end_all(self):
        """Ends everything: politely, so that the emulator ends its functions, then by force."""
        for child in self.children.values():
            if child.pid not in self.ended:
                send(os.kill, child.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            self.collect()
            if all(child.pid in self.ended for child in self.children.values()):
                break
            time.sleep(0.02)
        for child in self.children.values():
            send(os.killpg, child.pid, signal.SIGKILL)
        for _ in range(50):
            left = self.descendants()
            if not left:
                break
            for pid in left:
                send(os.kill, pid, signal.SIGKILL)
            time.sleep(0.02)
            self.collect()

    def forget(self, keep_logs):
        """Removes the state file if it is this cloud's, and the run directory unless its logs are still of use."""
        state = self.spec["state"]
        if state:
            try:
                with open(state, encoding="utf-8") as content:
                    mine = json.load(content).get("supervisor") == os.getpid()
                if mine:
                    os.remove(state)
            except (OSError, ValueError):
                pass
        shutil.rmtree(os.path.join(self.run, "tmp") if keep_logs else self.run, ignore_errors=True)


def send(function, pid, number):
    """Sends a signal; a process that is gone already is what was wanted."""
    try:
        function(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def main():
    with open(sys.argv[1], encoding="utf-8") as content:
        supervisor = Supervisor(json.load(content))

    with open(os.path.join(supervisor.run, "supervisor.pid"), "w", encoding="utf-8") as out:
        out.write(str(os.getpid()))

    def stop(_number, _frame):
        supervisor.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    process_control(PR_SET_CHILD_SUBREAPER, 1)
    problem = None
    try:
        if supervisor.start():
            supervisor.watch()
    except Problem as caught:
        problem = caught
    except Exception as error:  # whatever it is, nothing may be left running
        problem = Problem("failed", "supervisor", f"{type(error).__name__}: {error}")
    supervisor.end_all()
    if problem is not None:
        supervisor.say(problem.event, name=problem.name, reason=problem.reason, log=problem.log)
    supervisor.forget(keep_logs=problem is not None)
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main())

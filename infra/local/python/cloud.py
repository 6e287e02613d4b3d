"""Calls in the local cloud, for the Rust side: one JSON object a line in, one a line out, in order.

In: {"operation": name, "arguments": {...}}. Out: {"result": ...}, or {"error": message, "input": bool}; before that
any number of {"progress": text, "done": [n, of]}. It ends when its standard input does. The endpoints and credentials
come from the environment, as for any AWS SDK. Each operation is a function below, registered by `@operation`.
"""

import base64
import concurrent.futures
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import zipfile

import boto3
import botocore.config
import botocore.exceptions
import yaml

import seed

OPERATIONS = {}
CLIENTS = {}
ARTIFACTS = "gennaker-artifacts"
HOME_REGION = os.environ.get("AWS_REGION", "us-east-1")


class Wrong(Exception):
    """What the caller gave cannot be used."""


def operation(function):
    OPERATIONS[function.__name__] = function
    return function


def client(service, region=HOME_REGION):
    """A client that is made once: making one reads the service's whole model."""
    key = (service, region)
    if key not in CLIENTS:
        config = botocore.config.Config(
            retries={"max_attempts": 1},
            # Archives are tens of megabytes each: hashing them once is enough.
            s3={"addressing_style": "path", "payload_signing_enabled": False},
            request_checksum_calculation="when_required",
        )
        CLIENTS[key] = boto3.client(service, region_name=region, config=config)
    return CLIENTS[key]


def say(**fields):
    print(json.dumps(fields, default=str), flush=True)


def progress(text, done=None):
    say(progress=text, done=done)


@operation
def call(service, operation, parameters=None, region=HOME_REGION):
    """Any call of any service: {"service": "autoscaling", "operation": "describe_auto_scaling_groups", ...}."""
    answer = getattr(client(service, region), operation)(**(parameters or {}))
    answer.pop("ResponseMetadata", None)
    for key, value in answer.items():
        if hasattr(value, "read"):
            answer[key] = value.read().decode("utf-8", "replace")
    return answer


# --- Functions and the stack ------------------------------------------------------------------------------------------


@operation
def package(binaries, directory):
    """Zips each binary as `bootstrap`, stripped and uncompressed; [{"name", "zip", "bytes"}].

    A zip that is younger than its binary is kept. Nothing is compressed: the archives never leave this machine. Several
    local clouds of one workspace share the archives: they package one after the other.
    """
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return package_alone(binaries, directory)


def package_alone(binaries, directory):
    """`package`, while nobody else does."""

    def one(item):
        name, binary = item["name"], item["binary"]
        target = os.path.join(directory, f"{name}.zip")
        if not (os.path.exists(target) and os.stat(target).st_mtime_ns > os.stat(binary).st_mtime_ns):
            stripped = os.path.join(directory, f"{name}.stripped")
            try:
                # Emulators hold every archive in memory; symbols are most of a development build.
                subprocess.run(["strip", "-o", stripped, binary], check=True, capture_output=True)
                binary = stripped
            except (OSError, subprocess.CalledProcessError):
                pass  # without binutils it works as well, only with more memory
            entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o755 << 16
            with zipfile.ZipFile(target + ".new", "w", zipfile.ZIP_STORED) as archive, open(binary, "rb") as content:
                archive.writestr(entry, content.read())
            os.replace(target + ".new", target)
            if os.path.exists(stripped):
                os.remove(stripped)
        return {"name": name, "zip": target, "bytes": os.path.getsize(target)}

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        made = []
        for item in pool.map(one, binaries):
            made.append(item)
            progress(item["name"], [len(made), len(binaries)])
    return made


class TemplateLoader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms (`!Ref`, `!GetAtt a.b`, `!Sub`)."""


def short_form(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


TemplateLoader.add_multi_constructor("!", short_form)
# A date in a template (`Version: 2012-10-17`) is text for CloudFormation.
TemplateLoader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_template(path):
    try:
        with open(path, encoding="utf-8") as content:
            template = yaml.load(content, TemplateLoader)
    except OSError as error:
        raise Wrong(f"template `{path}`: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise Wrong(f"template `{path}`: {error}") from error
    if not isinstance(template, dict) or not isinstance(template.get("Resources"), dict):
        raise Wrong(f"template `{path}`: it has no `Resources`")
    return template


def artifact_for(logical_id, code, artifacts):
    """The artifact of a function: by logical id (`ResizeServerGroupFunction`), else by the last part of its CodeUri."""
    for name, artifact in artifacts.items():
        camel = "".join(word.capitalize() for word in name.split("-"))
        if logical_id in (name, camel, camel + "Function"):
            return artifact
    last = os.path.basename(str(code).rstrip("/"))
    return artifacts.get(last.removesuffix(".zip"))


def upload(path, known):
    """The `s3://bucket/<sha256>.<extension>` of a file, uploaded unless it is there."""
    if path not in known:
        try:
            with open(path, "rb") as content:
                body = content.read()
        except OSError as error:
            raise Wrong(f"`{path}`: {error.strerror}") from error
        key = hashlib.sha256(body).hexdigest() + os.path.splitext(path)[1]
        try:
            client("s3").head_object(Bucket=ARTIFACTS, Key=key)
        except botocore.exceptions.ClientError:
            client("s3").put_object(Bucket=ARTIFACTS, Key=key, Body=body)
        known[path] = f"s3://{ARTIFACTS}/{key}"
    return known[path]


# Types of resources that the emulator refuses a template for. None of them does anything here: there is one account.
REFUSED_TYPES = {"AWS::Events::EventBusPolicy"}


@operation
def deploy(stack, template, parameters, artifacts):
    """Creates or updates a stack from a SAM template, its functions' code from `artifacts` (name to zip)."""
    content = read_template(template)
    try:
        client("s3").create_bucket(Bucket=ARTIFACTS)
    except client("s3").exceptions.BucketAlreadyOwnedByYou:
        pass
    resources = {name: one for name, one in content["Resources"].items() if one.get("Type") not in REFUSED_TYPES}
    content["Resources"] = resources
    known, missing = {}, []
    functions = [
        (name, resource.setdefault("Properties", {}))
        for name, resource in resources.items()
        if resource.get("Type") in ("AWS::Serverless::Function", "AWS::Lambda::Function")
    ]
    found = []
    for logical_id, properties in functions:
        code = properties.get("CodeUri", properties.get("Code", ""))
        if not isinstance(code, str) or code.startswith("s3://"):
            continue
        artifact = artifact_for(logical_id, code, artifacts)
        if artifact is None:
            missing.append(logical_id)
        else:
            found.append((properties, artifact))
    if missing:
        raise Wrong(f"template `{template}`: no binary for {', '.join(missing)}")
    client("s3")  # made before the threads need it
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        uploads = pool.map(lambda one: upload(one[1], known), found)
        for number, ((properties, artifact), location) in enumerate(zip(found, uploads), 1):
            # A literal address, as `sam package` writes it: with a parameter an update would leave the alias behind.
            if "Code" in properties:
                bucket, _, key = location.removeprefix("s3://").partition("/")
                properties["Code"] = {"S3Bucket": bucket, "S3Key": key}
            else:
                properties["CodeUri"] = location
            progress(f"uploading {os.path.basename(artifact)}", [number, len(found)])
    for resource in resources.values():
        definition = (resource.get("Properties") or {}).get("DefinitionUri")
        if isinstance(definition, str) and not definition.startswith("s3://"):
            path = os.path.normpath(os.path.join(os.path.dirname(template), definition))
            resource["Properties"]["DefinitionUri"] = upload(path, known)
            check_substitutions(path, resource["Properties"].get("DefinitionSubstitutions") or {})
    declared = content.get("Parameters") or {}
    unknown = sorted(set(parameters) - set(declared))
    if unknown:
        raise Wrong(f"template `{template}`: no parameter {', '.join(unknown)}")
    return apply_stack(stack, json.dumps(content, default=str), parameters)


def check_substitutions(path, substitutions):
    """CloudFormation would leave a placeholder without a value as it is, and the machine would fail when it runs."""
    with open(path, encoding="utf-8") as content:
        unknown = sorted(set(re.findall(r"\$\{(\w+)\}", content.read())) - set(substitutions))
    if unknown:
        raise Wrong(f"`{path}`: no DefinitionSubstitutions for {', '.join(unknown)}")


def apply_stack(stack, body, parameters):
    cloudformation = client("cloudformation")
    # A template in the request itself may have 51,200 bytes, one in S3 a million: `sam deploy` does the same.
    key = hashlib.sha256(body.encode()).hexdigest() + ".template"
    client("s3").put_object(Bucket=ARTIFACTS, Key=key, Body=body.encode())
    endpoint = client("s3").meta.endpoint_url.rstrip("/")
    request = {
        "StackName": stack,
        "TemplateURL": f"{endpoint}/{ARTIFACTS}/{key}",
        "Parameters": [{"ParameterKey": k, "ParameterValue": str(v)} for k, v in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
    }
    began = time.time()
    try:
        cloudformation.describe_stacks(StackName=stack)
        exists = True
    except botocore.exceptions.ClientError:
        exists = False
    try:
        (cloudformation.update_stack if exists else cloudformation.create_stack)(**request)
    except botocore.exceptions.ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise
    while True:
        described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
        if not described["StackStatus"].endswith("_IN_PROGRESS"):
            break
        time.sleep(0.05)
    if described["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        failed = [
            f"{event['LogicalResourceId']} ({event.get('ResourceType')}): {event.get('ResourceStatusReason', 'no reason')}"
            for event in events
            if event["ResourceStatus"].endswith("_FAILED") and event["Timestamp"].timestamp() >= began - 1
        ]
        reason = described.get("StackStatusReason", "")
        raise RuntimeError(f"stack {stack} is {described['StackStatus']} {reason}: " + "; ".join(reversed(failed)))
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
    made = [resource for page in pages for resource in page["StackResourceSummaries"]]
    return {
        "status": described["StackStatus"],
        "outputs": {o["OutputKey"]: o["OutputValue"] for o in described.get("Outputs", [])},
        "resources": {
            r["LogicalResourceId"]: {"type": r["ResourceType"], "id": r.get("PhysicalResourceId", "")} for r in made
        },
    }


# --- Events -----------------------------------------------------------------------------------------------------------


@operation
def push_image(repository, tag, content="", region=HOME_REGION):
    """Pushes an image to ECR and returns the event that AWS would send for it.

    Image and digest follow from the arguments alone: another `content` under the same tag is another image.
    """
    ecr = client("ecr", region)
    try:
        ecr.create_repository(repositoryName=repository)
    except ecr.exceptions.RepositoryAlreadyExistsException:
        pass
    config = "sha256:" + hashlib.sha256(f"{repository}:{tag}:{content}".encode()).hexdigest()
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 2, "digest": config},
        "layers": [],
    }
    try:
        ecr.put_image(
            repositoryName=repository, imageTag=tag, imageManifest=json.dumps(manifest), imageManifestMediaType=kind
        )
    except ecr.exceptions.ImageAlreadyExistsException:
        pass
    details = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])["imageDetails"][0]
    digest = details["imageDigest"]
    return {
        "version": "0",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": "123456789012",
        "region": region,
        "resources": [],
        "detail": {
            "result": "SUCCESS",
            "repository-name": repository,
            "image-digest": digest,
            "action-type": "PUSH",
            "image-tag": tag,
        },
    }


@operation
def put_event(event, bus="default"):
    """Sends an EventBridge event. One with an `id` is delivered with it, so that it can be delivered twice.

    PutEvents refuses sources that begin with `aws.` and makes an id of its own. Without an id the event goes through
    PutEvents, `aws.ecr` as `gennaker.local.ecr`, a source that the template's rules take as a parameter. With an id
    the rules are asked which of them match, and their functions are invoked with the event as it stands.
    """
    for field in ("source", "detail-type", "detail"):
        if field not in event:
            raise Wrong(f"the event has no `{field}`")
    region = event.get("region") or HOME_REGION
    source = event["source"]
    local = "gennaker.local." + source.removeprefix("aws.") if source.startswith("aws.") else source
    if event.get("id"):
        return deliver(event, local, bus, region)
    entry = {
        "Source": local,
        "DetailType": event["detail-type"],
        "Detail": json.dumps(event["detail"]),
        "Resources": event.get("resources", []),
        "EventBusName": bus,
    }
    answer = client("events", region).put_events(Entries=[entry])
    if answer["FailedEntryCount"]:
        raise RuntimeError(f"the event was refused: {answer['Entries'][0].get('ErrorMessage')}")
    return {"id": answer["Entries"][0]["EventId"], "source": local}


def deliver(event, local, bus, region):
    """Invokes the functions of every rule that matches, under the original or the local source."""
    events, functions = client("events", region), client("lambda", region)
    complete = {
        "version": "0",
        "account": "123456789012",
        "region": region,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "resources": [],
    } | event
    invoked = []
    for rule in events.list_rules(EventBusName=bus)["Rules"]:
        if rule.get("State", "ENABLED") == "DISABLED" or not rule.get("EventPattern"):
            continue
        matching = [
            candidate
            for candidate in (complete, complete | {"source": local})
            if events.test_event_pattern(EventPattern=rule["EventPattern"], Event=json.dumps(candidate))["Result"]
        ]
        if not matching:
            continue
        for target in events.list_targets_by_rule(Rule=rule["Name"], EventBusName=bus)["Targets"]:
            if ":lambda:" in target["Arn"]:
                payload = json.dumps(matching[0]).encode()
                functions.invoke(FunctionName=target["Arn"], InvocationType="Event", Payload=payload)
                invoked.append(target["Arn"])
    return {"id": event["id"], "source": event["source"], "invoked": invoked}


# --- The internet -----------------------------------------------------------------------------------------------------


@operation
def request(url, method="GET", headers=None, body="", timeout=60):
    """A request to a public address of the stack, as the internet would send it; the body is base64, both ways.

    `<id>.execute-api.localhost` is this machine: not every resolver knows names below `localhost`.
    """
    parts = urllib.parse.urlsplit(url)
    local = parts.hostname == "localhost" or (parts.hostname or "").endswith(".localhost")
    host = "127.0.0.1" if local else parts.hostname
    connection = http.client.HTTPConnection(host, parts.port or 80, timeout=timeout)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, path, base64.b64decode(body), {"Host": parts.netloc} | (headers or {}))
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    return {
        "status": answer.status,
        "headers": [[name.lower(), value] for name, value in answer.getheaders()],
        "body": base64.b64encode(content).decode(),
    }


# --- The world --------------------------------------------------------------------------------------------------------


def world_call(path, body=None):
    """A call of the world process itself, for what EC2 has no operation for."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL_EC2"] + path, data=data)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


@contextlib.contextmanager
def seeder():
    """Seeds while nobody else on this machine does: what one run looks for and does not find, another may be making."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "seed.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield seed.Seeder(client, world_call)


@operation
def seed_world(world):
    """Creates what a world file names; [{"kind", "region", "name", "id"}] of what was not there before."""
    with seeder() as alone:
        return alone.world(world)


@operation
def seed_pipeline(pipeline, clusters=True):
    """Creates what a pipeline names; with `clusters` also one enabled server group in each cluster without any."""
    with seeder() as alone:
        return alone.pipeline(pipeline, clusters)


@operation
def clusters():
    """The clusters as Auto Scaling, EC2 and ELB show them, oldest server group first."""
    return seed.read_clusters(client, world_call("/_world/regions"))


@operation
def state_machines():
    """The ARNs of all state machines."""
    pages = client("stepfunctions").get_paginator("list_state_machines").paginate()
    return [machine["stateMachineArn"] for page in pages for machine in page["stateMachines"]]


def main():
    for line in sys.stdin:
        try:
            request = json.loads(line)
            result = OPERATIONS[request["operation"]](**request.get("arguments", {}))
            say(result=result)
        except (Wrong, seed.Wrong) as wrong:
            say(error=str(wrong), input=True)
        except botocore.exceptions.ClientError as error:
            say(error=str(error), input=False)
        except Exception as error:  # one failed call must not end the session
            say(error=f"{type(error).__name__}: {error}", input=False)


if __name__ == "__main__":
    main()

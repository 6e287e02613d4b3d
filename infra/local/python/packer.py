"""`packer` for builds in the local cloud: `CreateImage` in the place of a machine that is provisioned.

A real Packer cannot be pointed at an emulator by its environment, and the emulated instances cannot be logged in to.
So `packer build` does what is left of its work: it finds the source image, creates the image under the template's
name with the template's tags, prints the artifact as Packer does, and writes the manifest file if the template asks for one. It says so.
Templates: JSON, and HCL2 as far as plain attributes and `var.NAME` go. Only the standard library is used.
"""

import json
import os
import re
import shutil
import sys
import time
import urllib.parse
import urllib.request
import xml.etree.ElementTree
from datetime import datetime, timezone

ENDPOINT = os.environ.get("AWS_ENDPOINT_URL_EC2", "")
ACCOUNT = os.environ.get("AWS_ACCESS_KEY_ID", "123456789012")


class Wrong(Exception):
    """The template or the cloud does not allow the build."""


def ec2(region, action, **parameters):
    """One EC2 call; the answer as XML without namespaces."""
    form = {"Action": action, "Version": "2016-11-15", **parameters}
    scope = f"{ACCOUNT}/{time.strftime('%Y%m%d')}/{region}/ec2/aws4_request"
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    if not ENDPOINT:
        raise Wrong("AWS_ENDPOINT_URL_EC2 is not set: this packer only works in the local cloud")
    request = urllib.request.Request(ENDPOINT, data=urllib.parse.urlencode(form).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        raise Wrong(f"{action}: {error.read().decode(errors='replace')}") from error
    return xml.etree.ElementTree.fromstring(re.sub(r'\sxmlns="[^"]+"', "", text, count=1))


def arguments_of(argv):
    """The variables, the template and the flags of `packer build`."""
    variables, files, machine = {}, [], False
    queue = list(argv)
    while queue:
        word = queue.pop(0)
        name, _, value = word.lstrip("-").partition("=") if word.startswith("-") else ("", "", "")
        if not word.startswith("-"):
            files.append(word)
        elif name in ("var", "var-file") or word in ("-var", "-var-file"):
            value = value or (queue.pop(0) if queue else "")
            if name == "var":
                key, _, given = value.partition("=")
                variables[key] = given.strip('"') if given.startswith('"') else given
            else:
                with open(value, encoding="utf-8") as content:
                    variables |= {k: str(v) for k, v in variable_file(content.read()).items()}
        elif name == "machine-readable":
            machine = True
    return variables, files, machine


def variable_file(text):
    if text.lstrip().startswith("{"):
        return json.loads(text)
    return {name: value for name, value in re.findall(r'^\s*([\w-]+)\s*=\s*"?([^"\n]*)"?', text, re.M)}


def substituted(text, variables):
    """The template language's functions that image names use."""
    now = datetime.now(timezone.utc)

    def function(match):
        words = match.group(1).replace("`", " ").split()
        if words[:1] == ["user"] and len(words) > 1:
            return variables.get(words[1], "")
        if words[:1] == ["env"] and len(words) > 1:
            return os.environ.get(words[1], "")
        if words[:1] == ["timestamp"]:
            return str(int(now.timestamp()))
        if words[:1] == ["isotime"]:
            return now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if words[:1] == ["clean_resource_name"] and len(words) > 2:
            return re.sub(r"[^\w\-./()\[\] ]", "-", variables.get(words[-1], ""))
        return ""

    return re.sub(r"\{\{\s*(.*?)\s*\}\}", function, text)


def deep(value, variables):
    if isinstance(value, str):
        # Twice: a variable's value may itself be a template.
        return substituted(substituted(value, variables), variables)
    if isinstance(value, list):
        return [deep(part, variables) for part in value]
    if isinstance(value, dict):
        return {key: deep(part, variables) for key, part in value.items()}
    return value


def json_builders(text, given):
    template = json.loads(text)
    variables = {k: "" if v is None else str(v) for k, v in template.get("variables", {}).items()} | given
    variables = {k: substituted(v, variables) for k, v in variables.items()}
    processors = template.get("post-processors", [])
    flat = [p for entry in processors for p in (entry if isinstance(entry, list) else [entry])]
    flat = [{"type": p} if isinstance(p, str) else p for p in flat]
    manifests = [deep(p, variables).get("output", "packer-manifest.json") for p in flat if p.get("type") == "manifest"]
    return [deep(builder, variables) for builder in template.get("builders", [])], manifests


def hcl_block(text, start):
    """The text between the brace at `start` and the one that closes it."""
    depth, quoted = 0, False
    for place in range(start, len(text)):
        letter = text[place]
        if letter == '"' and text[place - 1] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (letter == "{") - (letter == "}")
            if depth == 0:
                return text[start + 1 : place]
    raise Wrong("the template's braces do not match")


def hcl_builders(text, given):
    variables = {}
    for match in re.finditer(r'variable\s+"([^"]+)"\s*\{', text):
        default = re.search(r'default\s*=\s*"([^"]*)"', hcl_block(text, match.end() - 1))
        variables[match.group(1)] = default.group(1) if default else ""
    variables |= given

    def value(raw):
        raw = raw.strip()
        if raw.startswith("var."):
            return variables.get(raw[4:], "")
        return substituted(re.sub(r"\$\{var\.([\w-]+)\}", lambda m: variables.get(m.group(1), ""), raw.strip('"')), {})

    builders = []
    for match in re.finditer(r'source\s+"([^"]+)"\s+"([^"]+)"\s*\{', text):
        block = hcl_block(text, match.end() - 1)
        builder = {"type": match.group(1), "name": match.group(2)}
        for nested in re.finditer(r"(tags|run_tags|source_ami_filter|filters)\s*=?\s*\{", block):
            pairs = re.findall(r'"?([\w:-]+)"?\s*[=:]\s*("[^"]*"|var\.[\w-]+)', hcl_block(block, nested.end() - 1))
            builder[nested.group(1)] = {key: value(given) for key, given in pairs}
        for key, raw in re.findall(r'^\s*(\w+)\s*=\s*("[^"\n]*"|var\.[\w-]+)', block, re.M):
            builder.setdefault(key, value(raw))
        if "filters" in builder:
            builder["source_ami_filter"] = {"filters": builder.pop("filters")}
        builders.append(builder)
    manifests = []
    for match in re.finditer(r'post-processor\s+"manifest"\s*\{', text):
        output = re.search(r'output\s*=\s*("[^"]*"|var\.[\w-]+)', hcl_block(text, match.end() - 1))
        manifests.append(value(output.group(1)) if output else "packer-manifest.json")
    return builders, manifests


def source_image(region, builder):
    """The source image's id, or Wrong as Packer says it."""
    if builder.get("source_ami"):
        wanted = {"ImageId.1": builder["source_ami"]}
    else:
        filters = (builder.get("source_ami_filter") or {}).get("filters") or {}
        if not filters:
            raise Wrong("a source_ami or a source_ami_filter must be specified")
        wanted = {}
        for number, (name, value) in enumerate(filters.items(), 1):
            wanted |= {f"Filter.{number}.Name": name, f"Filter.{number}.Value.1": value}
    images = ec2(region, "DescribeImages", **wanted).findall(".//imagesSet/item")
    if not images:
        raise Wrong(f"No AMI was found matching filters: {wanted}")
    return max(images, key=lambda image: image.findtext("creationDate") or "").findtext("imageId")


def bake(builder):
    """Creates one image; (region, image id)."""
    region = builder.get("region") or os.environ.get("AWS_REGION", "us-east-1")
    name = builder.get("ami_name")
    if not name:
        raise Wrong("ami_name must be specified")
    if ec2(region, "DescribeImages", **{"Filter.1.Name": "name", "Filter.1.Value.1": name}).find(".//imagesSet/item") is not None:
        raise Wrong(f"AMI Name: '{name}' is used by an existing AMI")
    source = source_image(region, builder)
    kind = builder.get("instance_type") or "t3.micro"
    launched = ec2(region, "RunInstances", ImageId=source, MinCount="1", MaxCount="1", InstanceType=kind)
    instance = launched.findtext(".//instancesSet/item/instanceId")
    try:
        parameters = {"InstanceId": instance, "Name": name, "Description": builder.get("ami_description", "")}
        image = ec2(region, "CreateImage", **parameters).findtext(".//imageId")
    finally:
        ec2(region, "TerminateInstances", **{"InstanceId.1": instance})
    tags = {}
    for number, (key, value) in enumerate((builder.get("tags") or {}).items(), 1):
        tags |= {f"Tag.{number}.Key": key, f"Tag.{number}.Value": str(value)}
    if tags:
        ec2(region, "CreateTags", **{"ResourceId.1": image}, **tags)
    return region, image


def build(argv):
    variables, files, machine = arguments_of(argv)
    if not files:
        raise Wrong("no template was given")
    path = files[-1]
    if os.path.isdir(path):
        parts = sorted(name for name in os.listdir(path) if name.endswith(".pkr.hcl"))
        text = "\n".join(open(os.path.join(path, name), encoding="utf-8").read() for name in parts)
    else:
        with (sys.stdin if path == "-" else open(path, encoding="utf-8")) as content:
            text = content.read()
    builders, manifests = (json_builders if text.lstrip().startswith("{") else hcl_builders)(text, variables)
    if not builders:
        raise Wrong("the template has no builders")
    made = []
    for builder in builders:
        label = builder.get("name") or builder.get("type", "amazon-ebs")
        if not builder.get("type", "").startswith("amazon-"):
            raise Wrong(f"builder `{builder.get('type')}` is not available in the local cloud")
        print(f"==> {label}: creating image {builder.get('ami_name')} by CreateImage", flush=True)
        region, image = bake(builder)
        made.append((label, builder["type"], region, image))
        if machine:
            print(f"{int(time.time())},{label},artifact,0,id,{region}:{image}")
        print(f"Build '{label}' finished.")
    print("\n==> Builds finished. The artifacts of successful builds are:")
    for label, _, region, image in made:
        print(f"--> {label}: AMIs were created:\n{region}: {image}\n")
    for output in manifests:
        content = [
            {"name": label, "builder_type": kind, "build_time": int(time.time()), "artifact_id": f"{region}:{image}"}
            for label, kind, region, image in made
        ]
        with open(output, "w", encoding="utf-8") as out:
            json.dump({"builds": content, "last_run_uuid": ""}, out, indent=2)


def main():
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "version")
    here = os.path.dirname(os.path.realpath(sys.argv[0]))
    others = [p for p in os.environ.get("PATH", "").split(os.pathsep) if not p.endswith("/bin") or "builds" not in p]
    real = shutil.which("packer", path=os.pathsep.join(others))
    reason = f"Packer ({real}) cannot reach an emulator" if real and not real.startswith(here) else "Packer is not installed"
    print(f"[local cloud] {reason}: CreateImage takes its place, nothing is provisioned.", flush=True)
    if command == "build":
        at = sys.argv.index("build")
        try:
            build(sys.argv[1:at] + sys.argv[at + 1 :])
        except (Wrong, OSError, ValueError) as wrong:
            print(f"Error: {wrong}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Creates in the emulated cloud what a world file or a pipeline names, and reads clusters back.

Every account is 123456789012. What exists already is left as it is, so seeding twice creates nothing twice.
"""

import json
import re

import boto3

ACCOUNT = "123456789012"
DEFAULT_REGION = "us-east-1"
# What is no region of AWS (a template variable, another cloud's region) has nothing that could be created.
REGIONS = frozenset(boto3.session.Session().get_available_regions("ec2"))
SEQUENCE = re.compile(r"-v(\d{3,})$")
DISABLED_PROCESSES = ["Launch", "Terminate", "AddToLoadBalancer"]


class Wrong(Exception):
    """The world file or pipeline cannot be seeded."""


def literal(value):
    """True for text that names something: not empty, no expression and no template variable in it."""
    return isinstance(value, str) and value != "" and "${" not in value and "{{" not in value and "#" not in value


def tag_text(value):
    """A tag's value as text: pipelines have numbers and truth values there, too."""
    return value if isinstance(value, str) else json.dumps(value)


def literals(value):
    """The literal texts in a value that may be one, a list of them, or neither."""
    return [one for one in (value if isinstance(value, list) else [value]) if literal(one)]


class Seeder:
    """One seeding. `client(service, region)` makes boto3 clients; `world_call` reaches the world process."""

    def __init__(self, client, world_call):
        self.client, self.world_call = client, world_call
        self.created = []
        self.vpcs = {}

    def note(self, kind, region, name, identity):
        self.created.append({"kind": kind, "region": region, "name": name, "id": identity})

    # -- single things

    def vpc(self, region):
        """The VPC that everything seeded is in."""
        if region not in self.vpcs:
            ec2 = self.client("ec2", region)
            found = ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["local"]}])["Vpcs"]
            if not found:
                found = [ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]]
                ec2.create_tags(Resources=[found[0]["VpcId"]], Tags=[{"Key": "Name", "Value": "local"}])
                self.note("vpc", region, "local", found[0]["VpcId"])
            self.vpcs[region] = found[0]["VpcId"]
        return self.vpcs[region]

    def rename(self, kind, region, old, new):
        """Gives a resource the id that the pipeline names; EC2 has no call for that."""
        self.world_call("/_world/rename", {"kind": kind, "region": region, "from": old, "to": new})

    def subnets(self, region, purpose, zones=()):
        """The subnets of a purpose, in the named zones or three of the region; their ids."""
        ec2 = self.client("ec2", region)
        vpc = self.vpc(region)
        here = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
        wanted = f'{{"purpose":"{purpose}"}}'
        of_purpose = [s for s in here if {"Key": "immutable_metadata", "Value": wanted} in s.get("Tags", [])]
        known = {zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"]}
        zones = [zone for zone in zones if zone in known] or sorted(known)[:3]
        number = len(here)
        for zone in zones:
            if any(subnet["AvailabilityZone"] == zone for subnet in of_purpose):
                continue
            block = f"10.0.{number}.0/24"
            subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=zone)["Subnet"]
            number += 1
            tags = [
                {"Key": "immutable_metadata", "Value": wanted},
                {"Key": "Name", "Value": f"local.{purpose}.{zone}"},
            ]
            ec2.create_tags(Resources=[subnet["SubnetId"]], Tags=tags)
            of_purpose.append(subnet)
            self.note("subnet", region, f"{purpose} in {zone}", subnet["SubnetId"])
        return [subnet["SubnetId"] for subnet in of_purpose]

    def subnet_by_id(self, region, identity):
        ec2 = self.client("ec2", region)
        if not ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": [identity]}])["Subnets"]:
            vpc = self.vpc(region)
            number = len(ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"])
            made = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"]
            self.rename("subnet", region, made, identity)
            self.note("subnet", region, identity, identity)

    def security_group(self, region, name):
        """A security group by name, or by id if it looks like one."""
        ec2 = self.client("ec2", region)
        key = "group-id" if name.startswith("sg-") else "group-name"
        found = ec2.describe_security_groups(Filters=[{"Name": key, "Values": [name]}])["SecurityGroups"]
        if found:
            return found[0]["GroupId"]
        made = ec2.create_security_group(GroupName=name, Description="seeded", VpcId=self.vpc(region))["GroupId"]
        if name.startswith("sg-"):
            self.rename("security-group", region, made, name)
            made = name
        self.note("security group", region, name, made)
        return made

    def key_pair(self, region, name):
        ec2 = self.client("ec2", region)
        if not ec2.describe_key_pairs(Filters=[{"Name": "key-name", "Values": [name]}])["KeyPairs"]:
            ec2.create_key_pair(KeyName=name)
            self.note("key pair", region, name, name)

    def instance_profile(self, region, name):
        """An instance profile by name, or by its ARN; IAM has one of it for all regions."""
        name, iam = name.rsplit("/", 1)[-1], self.client("iam", region)
        try:
            iam.create_instance_profile(InstanceProfileName=name)
        except iam.exceptions.EntityAlreadyExistsException:
            return
        self.note("instance profile", region, name, name)

    def target_group(self, region, name):
        elb = self.client("elbv2", region)
        try:
            return elb.describe_target_groups(Names=[name])["TargetGroups"][0]["TargetGroupArn"]
        except elb.exceptions.TargetGroupNotFoundException:
            vpc = self.vpc(region)
            made = elb.create_target_group(
                Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType="instance", HealthCheckPath="/"
            )["TargetGroups"][0]["TargetGroupArn"]
            self.note("target group", region, name, made)
            return made

    def classic_load_balancer(self, region, name):
        elb = self.client("elb", region)
        try:
            elb.describe_load_balancers(LoadBalancerNames=[name])
        except elb.exceptions.AccessPointNotFoundException:
            listener = {"Protocol": "HTTP", "LoadBalancerPort": 80, "InstanceProtocol": "HTTP", "InstancePort": 80}
            elb.create_load_balancer(LoadBalancerName=name, Listeners=[listener], Subnets=self.subnets(region, "internal"))
            self.note("load balancer", region, name, name)

    def image(self, region, name, tags=None):
        """An image by name, or by id if it looks like one; its id."""
        ec2 = self.client("ec2", region)
        if name.startswith("ami-"):
            found = ec2.describe_images(Filters=[{"Name": "image-id", "Values": [name]}])["Images"]
        else:
            found = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}])["Images"]
        if found:
            return found[0]["ImageId"]
        made = ec2.register_image(
            Name=name, Architecture="x86_64", RootDeviceName="/dev/xvda", VirtualizationType="hvm"
        )["ImageId"]
        if name.startswith("ami-"):
            self.rename("image", region, made, name)
            made = name
        all_tags = [{"Key": str(key), "Value": str(value)} for key, value in (tags or {}).items()]
        if all_tags:
            ec2.create_tags(Resources=[made], Tags=all_tags)
        self.note("image", region, name, made)
        return made

    def server_group(self, region, group):
        """A server group and its launch template. True if it was created."""
        scaling = self.client("autoscaling", region)
        name = group["name"]
        if scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]:
            return False
        ec2 = self.client("ec2", region)
        cluster = SEQUENCE.sub("", name)
        image = self.image(region, group.get("image") or f"{cluster}-base")
        capacity = group.get("capacity", 1)
        if isinstance(capacity, int):
            capacity = {"min": capacity, "desired": capacity, "max": capacity}
        data = {"ImageId": image, "InstanceType": group.get("instanceType") or "t3.micro"}
        if group.get("securityGroups"):
            data["SecurityGroupIds"] = [self.security_group(region, one) for one in group["securityGroups"]]
        template = ec2.create_launch_template(LaunchTemplateName=f"{name}-seeded", LaunchTemplateData=data)
        targets = [self.target_group(region, one) for one in group.get("targetGroups") or []]
        balancers = group.get("loadBalancers") or []
        for one in balancers:
            self.classic_load_balancer(region, one)
        subnets = self.subnets(region, group.get("subnetType") or "internal", group.get("zones") or ())
        tags = {"Name": name, "spinnaker:application": cluster.split("-")[0]}
        scaling.create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=capacity["min"],
            MaxSize=capacity["max"],
            DesiredCapacity=capacity["desired"],
            LaunchTemplate={"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"], "Version": "1"},
            VPCZoneIdentifier=",".join(subnets),
            TargetGroupARNs=targets,
            LoadBalancerNames=balancers,
            HealthCheckType="EC2",
            Tags=[{"Key": key, "Value": value, "PropagateAtLaunch": True} for key, value in tags.items()],
        )
        self.note("server group", region, name, name)
        return True

    def disable(self, region, name):
        """As `disableServerGroup` leaves a group: no traffic, and nothing changes by itself."""
        scaling, elb = self.client("autoscaling", region), self.client("elbv2", region)
        group = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]
        scaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=DISABLED_PROCESSES)
        targets = [{"Id": instance["InstanceId"]} for instance in group["Instances"]]
        for arn in group["TargetGroupARNs"] if targets else []:
            elb.deregister_targets(TargetGroupArn=arn, Targets=targets)
        for balancer in group["LoadBalancerNames"] if targets else []:
            instances = [{"InstanceId": target["Id"]} for target in targets]
            self.client("elb", region).deregister_instances_from_load_balancer(
                LoadBalancerName=balancer, Instances=instances
            )

    # -- a world file

    def world(self, world):
        regions = {cluster.get("region", DEFAULT_REGION) for cluster in world.get("clusters", [])} or {DEFAULT_REGION}
        for image in world.get("images", []):
            name = image.get("id") or image.get("name") or ""
            if name and not any(letter in name for letter in "*?["):
                for region in sorted(regions):
                    self.image(region, name, image.get("tags"))
        new = []
        for cluster in world.get("clusters", []):
            region = cluster.get("region", DEFAULT_REGION)
            for group in cluster.get("serverGroups", []):
                if self.server_group(region, group):
                    new.append((region, group))
        self.finish(new)
        return self.created

    def finish(self, new):
        """Lets the new groups' instances finish booting, then disables those that are to be disabled."""
        if new:
            self.world_call("/_world/settle", {})
        for region, group in new:
            if not group.get("enabled", True):
                self.disable(region, group["name"])

    # -- a pipeline

    def pipeline(self, pipeline, clusters):
        stages = [stage for stage in pipeline.get("stages") or [] if isinstance(stage, dict) and on_aws(stage)]
        new = []
        # A bake also bakes for the regions of the deploys behind it.
        named = {region: None for stage in stages for one in [stage, *described_groups(stage)] for region in regions_of(one)}
        for stage in stages:
            for described in described_groups(stage):
                self.described(described)
            self.images_of(stage, list(named) or [DEFAULT_REGION])
        wanted = [one for stage in stages for one in default_groups(stage)] if clusters else []
        there = {region: self.clusters_in(region) for region in {region for region, _ in wanted}}
        for region, group in wanted:
            if SEQUENCE.sub("", group["name"]) not in there[region] and self.server_group(region, group):
                new.append((region, group))
        self.finish(new)
        self.repositories(pipeline)
        return self.created

    def clusters_in(self, region):
        """The names of the clusters that have a server group."""
        pages = self.client("autoscaling", region).get_paginator("describe_auto_scaling_groups").paginate()
        return {SEQUENCE.sub("", group["AutoScalingGroupName"]) for page in pages for group in page["AutoScalingGroups"]}

    def described(self, group):
        """What one cluster of a deploy stage names."""
        for region, zones in regions_of(group).items():
            purposes = literals(group.get("subnetType")) + literals(group.get("subnetTypes"))
            for purpose in purposes or ["internal"]:
                self.subnets(region, purpose, zones)
            for subnet in literals(group.get("subnetIds")):
                self.subnet_by_id(region, subnet)
            for name in literals(group.get("securityGroups")) + literals(group.get("securityGroupNames")):
                self.security_group(region, name)
            for name in literals(group.get("keyPair")):
                self.key_pair(region, name)
            for name in literals(group.get("iamRole")):
                self.instance_profile(region, name)
            for name in literals(group.get("targetGroups")):
                self.target_group(region, name)
            for name in literals(group.get("loadBalancers")):
                self.classic_load_balancer(region, name)
            for key in ("amiName", "imageId"):
                for name in literals(group.get(key)):
                    self.image(region, name)

    def images_of(self, stage, named):
        """The images that a stage names, and the base images of a bake in all regions that the pipeline names."""
        kind = stage.get("type")
        regions = list(regions_of(stage)) or [DEFAULT_REGION]
        if kind == "findImageFromTags":
            tags = stage.get("tags") if isinstance(stage.get("tags"), dict) else {}
            tags = {key: tag_text(value) for key, value in tags.items()}
            tags = {key: text for key, text in tags.items() if literal(text)}
            for package in literals(stage.get("packageName")):
                for region in list(regions_of(stage)) or named:
                    self.tagged_image(region, package, tags)
        elif kind == "bake":
            for base in literals(stage.get("baseAmi")):
                for region in regions:
                    self.image(region, base)
            for region in named:
                for system in literals(stage.get("baseOs")):
                    self.image(region, f"{system}-base", {"base_os": system})
        for key in ("imageId", "amiName"):
            for name in literals(stage.get(key)):
                for region in regions:
                    self.image(region, name)

    def tagged_image(self, region, package, tags):
        """An image that `findImageFromTags` finds, unless there is one: the newest counts, and that is the world's."""
        if package.startswith("ami-"):
            self.image(region, package, tags)
            return
        patterned = "*" in package or "?" in package
        filters = [{"Name": "name", "Values": [package if patterned else f"*{package}*"]}]
        wanted = {(key.lower(), value.lower()) for key, value in tags.items()}
        for image in self.client("ec2", region).describe_images(Owners=["self"], Filters=filters)["Images"]:
            if wanted <= {(tag["Key"].lower(), tag["Value"].lower()) for tag in image.get("Tags", [])}:
                return
        if patterned:
            self.image(region, package.replace("*", "1.0.0-h1").replace("?", "x"), tags)
        else:
            version = {"appversion": f"{package}-1.0.0-h1.local"}
            self.image(region, f"{package}-1.0.0-h1-x86_64-local", version | tags)

    def repositories(self, pipeline):
        """The ECR repositories of docker triggers and expected artifacts."""
        for trigger in pipeline.get("triggers") or []:
            if not isinstance(trigger, dict) or trigger.get("type") != "docker":
                continue
            match = re.search(r"\.ecr\.([a-z0-9-]+)\.", str(trigger.get("registry", "")))
            region = match.group(1) if match else DEFAULT_REGION
            for name in literals(trigger.get("repository")):
                ecr = self.client("ecr", region)
                try:
                    ecr.create_repository(repositoryName=name)
                    self.note("repository", region, name, name)
                except ecr.exceptions.RepositoryAlreadyExistsException:
                    pass


def on_aws(value):
    """Whether a stage or a description is for EC2, which is what Spinnaker takes when nothing is said."""
    return (value.get("cloudProvider") or value.get("provider") or "aws") == "aws"


def described_groups(stage):
    """The descriptions of server groups that a stage creates."""
    if stage.get("type") == "deploy":
        # Old pipelines have one `cluster`, and its account beside it.
        single = stage.get("cluster")
        single = [{"account": stage.get("account")} | single] if isinstance(single, dict) else []
        return [one for one in (stage.get("clusters") or []) + single if isinstance(one, dict) and on_aws(one)]
    if stage.get("type") in ("createServerGroup", "cloneServerGroup"):
        return [stage]
    pairs = canary_deployments(stage).get("serverGroupPairs")
    sides = [pair.get(side) for pair in pairs or [] if isinstance(pair, dict) for side in ("control", "experiment")]
    return [one for one in sides if isinstance(one, dict) and on_aws(one)]


def canary_deployments(stage):
    """What a canary stage deploys; empty if it deploys nothing."""
    deployments = stage.get("deployments") if stage.get("type") == "kayentaCanary" else None
    return deployments if isinstance(deployments, dict) else {}


def regions_of(value):
    """Region to the zones named for it, of a cluster description or a stage."""
    zones = value.get("availabilityZones")
    found = {}
    if isinstance(zones, dict):
        found = {region: literals(names) for region, names in zones.items()}
    for region in literals(value.get("region")) + literals(value.get("regions")):
        found.setdefault(region, [])
    return {region: names for region, names in found.items() if region in REGIONS}


def cluster_name(group):
    """Spinnaker's cluster name of a description: application, stack and detail; None if one is an expression."""
    parts = [group.get("application"), group.get("stack") or "", group.get("freeFormDetails") or ""]
    if not literal(parts[0]) or not all(part == "" or literal(part) for part in parts):
        return None
    application, stack, detail = parts
    if detail:
        return f"{application}-{stack}-{detail}"
    return f"{application}-{stack}" if stack else application


def whole(value, default):
    return int(value) if str(value).isdigit() else default


def default_groups(stage):
    """(region, group) of one enabled server group in each cluster that a stage creates in or works on."""
    found = []
    if canary_deployments(stage):
        # Its own clusters are for the stage to make; the baseline's image comes from one that serves.
        baseline = canary_deployments(stage).get("baseline")
        regions = {region: None for group in described_groups(stage) for region in regions_of(group)}
        for name in literals(baseline.get("cluster") if isinstance(baseline, dict) else None):
            found += [(region, {"name": f"{name}-v000", "capacity": 1}) for region in regions]
        return found
    for group in described_groups(stage):
        name = cluster_name(group)
        capacity = group.get("capacity") if isinstance(group.get("capacity"), dict) else {}
        desired = whole(capacity.get("desired"), 1)
        low, high = whole(capacity.get("min"), desired), whole(capacity.get("max"), desired)
        for region, zones in (regions_of(group) or {DEFAULT_REGION: []}).items():
            if name is not None:
                seeded = {
                    "name": f"{name}-v000",
                    "capacity": {"min": min(low, desired), "desired": desired, "max": max(high, desired)},
                    "targetGroups": literals(group.get("targetGroups")),
                    "loadBalancers": literals(group.get("loadBalancers")),
                    "securityGroups": literals(group.get("securityGroups")),
                    "subnetType": (literals(group.get("subnetType")) or ["internal"])[0],
                    "zones": zones,
                }
                found.append((region, seeded))
    if not described_groups(stage):
        for name in literals(stage.get("cluster")):
            for region in regions_of(stage) or {DEFAULT_REGION: []}:
                found.append((region, {"name": f"{name}-v000", "capacity": 1}))
    return found


# --- Reading back -----------------------------------------------------------------------------------------------------


def read_clusters(client, regions):
    """The clusters of all regions as the APIs show them now."""
    found = {}
    for region in sorted(regions):
        scaling = client("autoscaling", region)
        pages = scaling.get_paginator("describe_auto_scaling_groups").paginate()
        for group in [group for page in pages for group in page["AutoScalingGroups"]]:
            name = group["AutoScalingGroupName"]
            key = (region, SEQUENCE.sub("", name))
            found.setdefault(key, []).append(read_group(client, region, group))
    return [
        {"account": ACCOUNT, "region": region, "name": name, "serverGroups": sorted(groups, key=lambda g: g["created"])}
        for (region, name), groups in sorted(found.items())
    ]


def read_group(client, region, group):
    ec2, elb = client("ec2", region), client("elbv2", region)
    instances = {instance["InstanceId"]: instance for instance in group["Instances"]}
    good = {
        identity
        for identity, instance in instances.items()
        if instance["LifecycleState"] == "InService" and instance["HealthStatus"] == "Healthy"
    }
    in_traffic = {}
    for arn in group["TargetGroupARNs"]:
        descriptions = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        health = {d["Target"]["Id"]: d["TargetHealth"]["State"] for d in descriptions}
        name = arn.split("/")[1]
        in_traffic[name] = sorted(identity for identity in instances if health.get(identity) == "healthy")
    for name in group["LoadBalancerNames"]:
        states = client("elb", region).describe_instance_health(LoadBalancerName=name)["InstanceStates"]
        served = {state["InstanceId"] for state in states if state["State"] == "InService"}
        # A target group may have the same name.
        in_traffic[f"{name} (classic)"] = sorted(served & set(instances))
    suspended = sorted(process["ProcessName"] for process in group["SuspendedProcesses"])
    attached = group["TargetGroupARNs"] or group["LoadBalancerNames"]
    ours = any(tag["Key"] == "gennaker:disabled" for tag in group.get("Tags", [])) and not attached
    enabled = not ours and "AddToLoadBalancer" not in suspended
    healthy = set(good)
    if enabled:
        for identities in in_traffic.values():
            healthy &= set(identities)
    template = group.get("LaunchTemplate") or {}
    image = ""
    if template.get("LaunchTemplateId"):
        versions = ec2.describe_launch_template_versions(
            LaunchTemplateId=template["LaunchTemplateId"], Versions=[template.get("Version") or "$Default"]
        )["LaunchTemplateVersions"]
        image = versions[0]["LaunchTemplateData"].get("ImageId", "") if versions else ""
    return {
        "name": group["AutoScalingGroupName"],
        "image": image,
        "capacity": {"min": group["MinSize"], "desired": group["DesiredCapacity"], "max": group["MaxSize"]},
        "enabled": enabled,
        "healthy": len(healthy),
        "instances": len(instances),
        "inTraffic": {name: len(identities) for name, identities in in_traffic.items()},
        "suspended": suspended,
        "created": str(group["CreatedTime"]),
    }

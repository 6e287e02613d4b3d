"""EC2, Auto Scaling and load balancing with a sense of time: moto, and the world around it.

    python world.py --fd LISTENING_SOCKET --run DIRECTORY

moto's instances run the moment they are asked for, and several of its answers are kinder than AWS's. This process
serves moto and changes, inside it, what a deployment depends on, so that there is no instant at which a caller can
see a half-made change:

* an instance of an Auto Scaling group is `Pending` (EC2: `pending`) for the boot time of its image, then `InService`,
  and only then registered with the group's target groups; an image marked bad boots too, but its instances are
  `Unhealthy` in the group and `unhealthy` in every target group for ever;
* suspended `Launch`, `Terminate` and `AddToLoadBalancer` are obeyed, bounds are checked, a second creation of a name
  is refused, a group with instances is deleted only by force, an unknown group is a `ValidationError`;
* terminated instances leave the target groups, and what was deregistered is not registered again behind the
  caller's back when the group changes its size;
* the CloudWatch data that a canary reads is written once a few seconds for every group that has instances.

`DIRECTORY/world.json` says which images are bad and how long they take (the world file of `gennaker local`); it is
read again whenever it changes, so it can be changed while the cloud is up.
"""

import argparse
import copy
import fnmatch
import json
import os
import random
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections import OrderedDict
from datetime import timedelta

from moto.autoscaling import models as autoscaling
from moto.autoscaling import responses as autoscaling_responses
from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidAMIIdError, InvalidLaunchTemplateVersionNotFound
from moto.ec2.models import amis, ec2_backends, launch_templates
from moto.ec2.responses import launch_templates as launch_template_responses
from moto.elb import responses as elb_responses
from moto.elb.exceptions import LoadBalancerNotFoundError
from moto.elbv2 import models as elbv2
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

# One lock for every request and every tick: moto is not made for threads, and a caller must see all of a change.
LOCK = threading.RLock()
TICK_SECONDS = 0.05
METRIC_SECONDS = 5
BACKFILL_MINUTES = 60
DEFAULT_BOOT_SECONDS = 2.0

DEFAULT_METRICS = [
    {"namespace": "AWS/EC2", "name": "CPUUtilization", "mean": 35.0, "deviation": 3.0, "badMean": 90.0},
    {"namespace": "Gennaker/Local", "name": "Latency", "mean": 120.0, "deviation": 8.0, "badMean": 480.0},
    {"namespace": "Gennaker/Local", "name": "ErrorRate", "mean": 0.5, "deviation": 0.1, "badMean": 7.5},
]


class WorldFile:
    """The images' health and boot times and the metrics, as the run directory's `world.json` has them."""

    def __init__(self, path):
        self.path = path
        self.stamp = None
        self.content = {}

    def read(self):
        try:
            stamp = os.stat(self.path).st_mtime_ns
            if stamp != self.stamp:
                with open(self.path, encoding="utf-8") as content:
                    self.content = json.load(content)
                self.stamp = stamp
        except (OSError, ValueError):
            pass  # not there, or half written: the last good content holds
        return self.content

    def image(self, image_id, image_name):
        """The first entry that names the image by id, or whose name pattern (`*`, `?`) matches."""
        for entry in self.read().get("images", []):
            if entry.get("id") and entry["id"] == image_id:
                return entry
            if entry.get("name") and fnmatch.fnmatchcase(image_name or "", entry["name"]):
                return entry
        return {}

    def metrics(self):
        return self.read().get("metrics") or DEFAULT_METRICS


class World:
    """Which instances are still booting, and which never become healthy."""

    def __init__(self, file):
        self.file = file
        self.booting = []  # (due, group, instance state)

    def launched(self, group, state):
        """A group launched an instance: it is pending for the boot time of its image."""
        instance = state.instance
        entry = self.file.image(instance.image_id, image_name(group, instance.image_id))
        state.lifecycle_state = "Pending"
        instance._state.name, instance._state.code = "pending", 0
        instance.world_healthy = entry.get("healthy", True)
        boot = float(entry.get("bootSeconds", self.file.read().get("bootSeconds", DEFAULT_BOOT_SECONDS)))
        self.booting.append((time.monotonic() + boot, group, state))

    def tick(self):
        """Finishes the boots that are due."""
        now, still = time.monotonic(), []
        for due, group, state in self.booting:
            if state.instance.state != "pending":
                continue  # terminated (or stopped by hand) while it booted
            if due > now:
                still.append((due, group, state))
                continue
            state.instance.start()
            if state.lifecycle_state == "Pending":
                state.lifecycle_state = "InService"
            if not state.instance.world_healthy:
                state.health_status = "Unhealthy"
            if group.name in group.autoscaling_backend.autoscaling_groups:
                group.autoscaling_backend.update_attached_elbs(group.name)
                group.autoscaling_backend.update_attached_target_groups(group.name)
        self.booting = still
        for regions in autoscaling.autoscaling_backends.values():
            for backend in regions.values():
                for group in backend.autoscaling_groups.values():
                    self.check(group)

    def check(self, group):
        """The group's own health check: an instance that somebody stopped is not healthy."""
        if not suspended(group, "HealthCheck"):
            for state in group.instance_states:
                if state.lifecycle_state == "InService" and state.instance.state != "running":
                    state.health_status = "Unhealthy"

    def run(self):
        while True:
            with LOCK:
                self.tick()
            time.sleep(TICK_SECONDS)


def image_name(group, image_id):
    images = group.ec2_backend.describe_images(filters={"image-id": [image_id]})
    return images[0].name if images else ""


# --- Auto Scaling -----------------------------------------------------------------------------------------------------


class Groups(OrderedDict):
    """The groups by name: an unknown one is the error that AWS answers, not a crash of the emulator."""

    def __missing__(self, name):
        raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")


def suspended(group, process):
    return process in group._suspended_processes


def make_auto_scaling_take_time(world):
    """Launches take the image's boot time; Launch and Terminate obey their suspension."""
    group_class = autoscaling.FakeAutoScalingGroup
    launch, resize = group_class.replace_autoscaling_group_instances, group_class.set_desired_capacity

    def replace_autoscaling_group_instances(self, count_needed, propagated_tags):
        if suspended(self, "Launch"):
            return
        before = set(map(id, self.instance_states))
        subnets = self.vpc_zone_identifier
        for _ in range(count_needed):
            # moto puts every instance into the first subnet; a group spreads them.
            if subnets:
                parts = subnets.split(",")
                turn = len(self.instance_states) % len(parts)
                self.vpc_zone_identifier = ",".join(parts[turn:] + parts[:turn])
            try:
                launch(self, 1, dict(propagated_tags))
            finally:
                self.vpc_zone_identifier = subnets
        for state in self.instance_states:
            if id(state) not in before:
                world.launched(self, state)

    def set_desired_capacity(self, new_capacity):
        wanted = self.min_size if new_capacity is None else new_capacity
        if suspended(self, "Terminate") and (wanted or 0) < len(self.active_instances()):
            self.desired_capacity = wanted
            return
        order = {id(state): place for place, state in enumerate(self.instance_states)}
        resize(self, new_capacity)
        # moto keeps the rest in a set; a stable order makes runs comparable.
        self.instance_states.sort(key=lambda state: order.get(id(state), len(order)))

    def active_instances(self):
        # Without the pending ones each change of the size would launch them again.
        return [state for state in self.instance_states if state.lifecycle_state in ("InService", "Pending")]

    group_class.replace_autoscaling_group_instances = replace_autoscaling_group_instances
    group_class.set_desired_capacity = set_desired_capacity
    group_class.active_instances = active_instances


def make_auto_scaling_strict():
    """The refusals of AWS that moto does not have."""
    backend = autoscaling.AutoScalingBackend
    begin, create, update = backend.__init__, backend.create_auto_scaling_group, backend.update_auto_scaling_group
    resume, delete = backend.resume_processes, backend.delete_auto_scaling_group

    def __init__(self, region_name, account_id):
        begin(self, region_name, account_id)
        self.autoscaling_groups = Groups()

    def create_auto_scaling_group(self, name, *args, **kwargs):
        if name in self.autoscaling_groups:
            raise AutoscalingClientError(
                "AlreadyExists",
                "AutoScalingGroup by this name already exists - A group with the name " + name + " already exists",
            )
        check_bounds(kwargs.get("desired_capacity"), kwargs.get("min_size"), kwargs.get("max_size"))
        check_target_groups(self, kwargs.get("target_group_arns") or [])
        return create(self, name, *args, **kwargs)

    def update_auto_scaling_group(self, name, *args, **kwargs):
        group = self.autoscaling_groups[name]
        low = kwargs["min_size"] if kwargs.get("min_size") is not None else group.min_size
        high = kwargs["max_size"] if kwargs.get("max_size") is not None else group.max_size
        desired = kwargs.get("desired_capacity")
        check_bounds(desired, low, high)
        if desired is None and not low <= group.desired_capacity <= high:
            kwargs["desired_capacity"] = min(max(group.desired_capacity, low), high)
        return update(self, name, *args, **kwargs)

    def set_desired_capacity(self, group_name, desired_capacity):
        group = self.autoscaling_groups[group_name]
        if desired_capacity is not None and desired_capacity > group.max_size:
            raise ValidationError(
                f"New SetDesiredCapacity value {desired_capacity} is above max value {group.max_size} "
                "for the AutoScalingGroup."
            )
        if desired_capacity is not None and desired_capacity < group.min_size:
            raise ValidationError(
                f"New SetDesiredCapacity value {desired_capacity} is below min value {group.min_size} "
                "for the AutoScalingGroup."
            )
        group.set_desired_capacity(desired_capacity)
        self.update_attached_elbs(group_name)

    def resume_processes(self, group_name, scaling_processes):
        resume(self, group_name, scaling_processes)
        group = self.autoscaling_groups[group_name]
        # What was asked for while Launch or Terminate were suspended happens now.
        group.set_desired_capacity(group.desired_capacity)

    def delete_auto_scaling_group(self, group_name):
        group = self.autoscaling_groups[group_name]
        # A forced deletion asks neither suspended processes, nor protection, nor the minimum size.
        group.suspended_processes, group.min_size = [], 0
        for state in group.instance_states:
            state.protected_from_scale_in = False
        delete(self, group_name)

    set_health, terminate = backend.set_instance_health, backend.terminate_instance

    def set_instance_health(self, instance_id, health_status):
        instance_of_a_group(self, instance_id)
        set_health(self, instance_id, health_status)

    def terminate_instance(self, instance_id, should_decrement):
        instance_of_a_group(self, instance_id)
        return terminate(self, instance_id, should_decrement)

    backend.set_instance_health = set_instance_health
    backend.terminate_instance = terminate_instance
    backend.__init__ = __init__
    backend.create_auto_scaling_group = create_auto_scaling_group
    backend.update_auto_scaling_group = update_auto_scaling_group
    backend.set_desired_capacity = set_desired_capacity
    backend.resume_processes = resume_processes
    backend.delete_auto_scaling_group = delete_auto_scaling_group

    answer = autoscaling_responses.AutoScalingResponse
    delete_answer = answer.delete_auto_scaling_group

    def delete_only_by_force(self):
        group = self.autoscaling_backend.autoscaling_groups[self._get_param("AutoScalingGroupName")]
        if group.instance_states and not self._get_bool_param("ForceDelete", False):
            raise AutoscalingClientError(
                "ResourceInUse",
                "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) "
                "still in the group.",
            )
        return delete_answer(self)

    answer.delete_auto_scaling_group = delete_only_by_force
    create_answer = answer.create_auto_scaling_group

    def create_with_hooks(self):
        made = create_answer(self)
        for hook in self._get_param("LifecycleHookSpecificationList", []) or []:
            self.autoscaling_backend.create_lifecycle_hook(
                name=hook["LifecycleHookName"],
                as_name=self._get_param("AutoScalingGroupName"),
                transition=hook["LifecycleTransition"],
                timeout=hook.get("HeartbeatTimeout"),
                result=hook.get("DefaultResult"),
            )
        return made

    answer.create_auto_scaling_group = create_with_hooks


def check_target_groups(backend, arns):
    """Before anything changes: moto would keep the unknown ARN in the group, and fail at every later request."""
    for arn in arns:
        if arn not in backend.elbv2_backend.target_groups:
            raise ValidationError(f"Target group '{arn}' was not found")


def instance_of_a_group(backend, instance_id):
    """AWS's refusal for an instance that no group has."""
    states = (state for group in backend.autoscaling_groups.values() for state in group.instance_states)
    if not any(state.instance.id == instance_id for state in states):
        raise ValidationError(f"Instance Id not found - No managed instance found for instance ID: {instance_id}")


def check_bounds(desired, low, high):
    if low is not None and high is not None and int(low) > int(high):
        raise ValidationError(f"Max bound, {high}, must be greater than or equal to min bound, {low}")
    if desired is not None and not int(low or 0) <= int(desired) <= int(high if high is not None else desired):
        raise ValidationError(
            f"Desired capacity:{desired} must be between the specified min size:{low} and max size:{high}"
        )


def make_launch_templates_idempotent():
    """The same client token gives the same launch template again, as long as it exists."""
    answer = launch_template_responses.LaunchTemplates
    create = answer.create_launch_template

    def create_launch_template(self):
        token, name = self._get_param("ClientToken"), self._get_param("LaunchTemplateName")
        made = self.ec2_backend.__dict__.setdefault("world_tokens", {})
        if token and (token, name) in made and name in self.ec2_backend.launch_template_name_to_ids:
            return made[(token, name)]
        result = create(self)
        made[(token, name)] = result
        return result

    answer.create_launch_template = create_launch_template


def make_launch_template_versions_leave():
    """A version can be deleted, unless it is the default one; its number is not given again."""
    answer, template = launch_template_responses.LaunchTemplates, launch_templates.LaunchTemplate
    backend = launch_templates.LaunchTemplateBackend
    get_version, describe = template.get_version, backend.describe_launch_template_versions

    def there(self, number):
        version = get_version(self, number)
        if getattr(version, "deleted", False):
            raise InvalidLaunchTemplateVersionNotFound(template_id=self.id, version=number)
        return version

    def described(self, *args, **kwargs):
        found = describe(self, *args, **kwargs)
        return [(of, version) for of, version in found if not getattr(version, "deleted", False)]

    def delete_launch_template_versions(self):
        of = self.ec2_backend.get_launch_template(self._get_param("LaunchTemplateId"))
        deleted, refused = [], []
        for number in self._get_param("Versions", []):
            said = {"LaunchTemplateId": of.id, "LaunchTemplateName": of.name, "VersionNumber": int(number)}
            try:
                version = there(of, number)
            except InvalidLaunchTemplateVersionNotFound as error:
                why = {"Code": "launchTemplateVersionDoesNotExist", "Message": error.message}
                refused.append(said | {"ResponseError": why})
                continue
            if of.is_default(version):
                refused.append(said | {"ResponseError": {"Code": "unexpectedError", "Message": "it is the default version"}})
                continue
            version.deleted = True
            deleted.append(said)
        return ActionResult(
            {
                "SuccessfullyDeletedLaunchTemplateVersions": deleted,
                "UnsuccessfullyDeletedLaunchTemplateVersions": refused,
            }
        )

    template.get_version, backend.describe_launch_template_versions = there, described
    answer.delete_launch_template_versions = delete_launch_template_versions


# --- Target groups ----------------------------------------------------------------------------------------------------


def make_target_groups_follow():
    """Instances are registered once, when they are in service, and leave when they are terminated."""
    backend = autoscaling.AutoScalingBackend
    attach, detach = backend.attach_load_balancer_target_groups, backend.detach_load_balancer_target_groups

    def update_attached_target_groups(self, group_name):
        group = self.autoscaling_groups[group_name]
        # An instance is offered to a target group once. What was deregistered later stays deregistered, and what
        # came up while AddToLoadBalancer was suspended has to be registered by hand: so it is on AWS.
        offered = group.__dict__.setdefault("world_offered", set())
        ready = [state for state in group.instance_states if state.lifecycle_state == "InService"]
        for arn in group.target_group_arns:
            target_group = self.elbv2_backend.target_groups.get(arn)
            if target_group is None:
                continue  # it was deleted since
            new = [state.instance.id for state in ready if (state.instance.id, arn) not in offered]
            offered.update((instance, arn) for instance in new)
            if new and not suspended(group, "AddToLoadBalancer"):
                target_group.register([{"Id": instance, "Port": target_group.port} for instance in new])

    def update_attached_elbs(self, group_name):
        """The same for classic load balancers, which have to be registered through the group as well."""
        group = self.autoscaling_groups[group_name]
        offered = group.__dict__.setdefault("world_offered", set())
        members = {state.instance.id for state in group.instance_states}
        ready = {state.instance.id for state in group.instance_states if state.lifecycle_state == "InService"}
        for name in group.load_balancer_names:
            balancer = self.elb_backend.load_balancers.get(name)
            if balancer is None:
                continue  # it was deleted since
            gone = {i for i in balancer.instance_ids if (i, name) in offered and i not in members}
            new = {i for i in ready if (i, name) not in offered}
            offered.update((i, name) for i in new)
            if gone:
                self.elb_backend.deregister_instances(name, gone)
            if new and not suspended(group, "AddToLoadBalancer"):
                # Not moto's `from_autoscaling`: what is in that list cannot be deregistered by hand.
                self.elb_backend.register_instances(name, sorted(new - set(balancer.instance_ids)))

    def detach_load_balancers(self, group_name, load_balancer_names):
        group = self.autoscaling_groups[group_name]
        members = {state.instance.id for state in group.instance_states}
        for name in load_balancer_names:
            if name in self.elb_backend.load_balancers:
                self.elb_backend.deregister_instances(name, members)
        group.load_balancer_names = [name for name in group.load_balancer_names if name not in load_balancer_names]
        offered = group.__dict__.setdefault("world_offered", set())
        group.world_offered = {pair for pair in offered if pair[1] not in load_balancer_names}

    def attach_load_balancer_target_groups(self, group_name, target_group_arns):
        check_target_groups(self, target_group_arns)
        attach(self, group_name, target_group_arns)

    def detach_load_balancer_target_groups(self, group_name, target_group_arns):
        check_target_groups(self, target_group_arns)
        detach(self, group_name, target_group_arns)
        group = self.autoscaling_groups[group_name]
        offered = group.__dict__.setdefault("world_offered", set())
        group.world_offered = {pair for pair in offered if pair[1] not in target_group_arns}

    backend.update_attached_elbs = update_attached_elbs
    backend.detach_load_balancers = detach_load_balancers
    backend.update_attached_target_groups = update_attached_target_groups
    backend.attach_load_balancer_target_groups = attach_load_balancer_target_groups
    backend.detach_load_balancer_target_groups = detach_load_balancer_target_groups

    target_class = elbv2.FakeTargetGroup
    health = target_class.health_for

    def deregister(self, targets):
        for target in targets:
            gone = self.targets.pop(target["Id"], None)
            if gone:  # AWS answers OK for a target that is not registered
                self.deregistered_targets[target["Id"]] = gone

    def health_for(self, target, ec2_backend):
        status = health(self, target, ec2_backend)
        instance = ec2_backend.get_instance_by_id(target["Id"]) if target["Id"].startswith("i-") else None
        if status.status == "healthy" and instance is not None:
            if instance.state == "pending":
                status.status, status.reason = "initial", "Elb.RegistrationInProgress"
                status.description = "Target registration is in progress"
            elif not getattr(instance, "world_healthy", True):
                status.status, status.reason = "unhealthy", "Target.FailedHealthChecks"
                status.description = "Health checks failed"
        return status

    target_class.deregister = deregister
    target_class.health_for = health_for


def make_classic_load_balancers_check_health():
    """Those that are registered by the image's health, with AWS's sentences; to moto all that runs is in service."""

    def health(instance):
        if instance.state == "pending":
            return "OutOfService", "ELB", "Instance registration is still in progress."
        if instance.state != "running":
            return "OutOfService", "Instance", f"Instance is in {instance.state} state."
        if not getattr(instance, "world_healthy", True):
            sentence = "Instance has failed at least the UnhealthyThreshold number of health checks consecutively."
            return "OutOfService", "Instance", sentence
        return "InService", "N/A", "N/A"

    def describe_instance_health(self):
        name = self._get_param("LoadBalancerName")
        balancer = self.elb_backend.load_balancers.get(name)
        if balancer is None:
            raise LoadBalancerNotFoundError(name)
        ec2_backend = ec2_backends[self.current_account][self.region]
        asked = [instance["InstanceId"] for instance in self._get_param("Instances", [])]
        states = []
        for instance_id in asked or balancer.instance_ids:
            instance = ec2_backend.get_instance_by_id(instance_id)
            if instance is None:
                continue  # it is gone, and leaves at the group's next look
            state, code, description = health(instance)
            if instance_id not in balancer.instance_ids:
                description = "Instance is not currently registered with the LoadBalancer."
                state, code = "OutOfService", "Instance"
            states.append(
                {"InstanceId": instance_id, "State": state, "ReasonCode": code, "Description": description}
            )
        return ActionResult({"InstanceStates": states})

    elb_responses.ELBResponse.describe_instance_health = describe_instance_health


def make_terminated_instances_leave():
    """moto tells the target groups only of terminations by `TerminateInstances`, not of those by a group."""
    ec2_class = type(ec2_backends["123456789012"]["us-east-1"])
    terminate = ec2_class.terminate_instances

    def terminate_instances(self, instance_ids):
        result = terminate(self, instance_ids)
        elbv2.elbv2_backends[self.account_id][self.region_name].notify_terminate_instances(instance_ids)
        return result

    ec2_class.terminate_instances = terminate_instances


# --- CloudWatch -------------------------------------------------------------------------------------------------------


class Metrics:
    """Writes a value a second for each metric of each group that has instances in service."""

    def __init__(self, file, endpoint):
        self.file, self.endpoint = file, endpoint
        self.known = {}  # (region, group) -> last second written

    def value(self, metric, group, bad, second):
        """The same group, metric and second give the same value in every run."""
        chance = random.Random(f"{group}/{metric['name']}/{second}")
        mean = float(metric.get("badMean", metric["mean"]) if bad else metric["mean"])
        return max(0.0, chance.gauss(mean, float(metric.get("deviation", 0.0))))

    def groups(self):
        """(region, group name, image entry) of every group that serves."""
        found = []
        for regions in autoscaling.autoscaling_backends.values():
            for region, backend in regions.items():
                for group in backend.autoscaling_groups.values():
                    states = [s for s in group.instance_states if s.lifecycle_state == "InService"]
                    if states:
                        image = states[-1].instance.image_id
                        entry = self.file.image(image, image_name(group, image))
                        found.append((region, group.name, entry))
        return found

    def tick(self, now):
        with LOCK:
            groups = self.groups()
        for region, name, entry in groups:
            last = self.known.get((region, name))
            if last is None:
                # A canary's baseline looks back: an hour of one point a minute, as if it had always run.
                seconds = [now - 60 * minute for minute in range(BACKFILL_MINUTES, 0, -1)]
            else:
                seconds = list(range(last + 1, now + 1))
            if not seconds:
                continue
            self.known[(region, name)] = now
            # `degraded`: the instances are healthy, but their metrics tell. That is what a canary is for.
            bad = entry.get("degraded", not entry.get("healthy", True))
            overrides = entry.get("metrics", {})
            by_namespace = {}
            for metric in self.file.metrics():
                metric = metric | overrides.get(metric["name"], {})
                by_namespace.setdefault(metric["namespace"], []).append(metric)
            for namespace, metrics in by_namespace.items():
                data = [
                    (metric, second, self.value(metric, name, bad, second)) for metric in metrics for second in seconds
                ]
                self.put(region, namespace, name, data)

    def put(self, region, namespace, group, data):
        form = {"Action": "PutMetricData", "Version": "2010-08-01", "Namespace": namespace}
        for number, (metric, second, value) in enumerate(data, 1):
            member = f"MetricData.member.{number}."
            form[member + "MetricName"] = metric["name"]
            form[member + "Value"] = repr(value)
            form[member + "Unit"] = metric.get("unit", "None")
            form[member + "StorageResolution"] = "1"
            form[member + "Timestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
            form[member + "Dimensions.member.1.Name"] = metric.get("dimension", "AutoScalingGroupName")
            form[member + "Dimensions.member.1.Value"] = group
        scope = f"123456789012/{time.strftime('%Y%m%d')}/{region}/monitoring/aws4_request"
        request = urllib.request.Request(
            self.endpoint,
            data=urllib.parse.urlencode(form).encode(),
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
            },
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    def run(self):
        while True:
            try:
                self.tick(int(time.time()))
            except Exception as error:  # one bad round must not end the writing of all later ones
                print(f"metrics could not be written: {type(error).__name__}: {error}", flush=True)
            time.sleep(METRIC_SECONDS)


# --- The server -------------------------------------------------------------------------------------------------------


def make_images_age():
    """No two images of a region have the same second, which is all that their creation date tells: the later is newer."""
    begin, newest = amis.Ami.__init__, {}

    def __init__(self, ec2_backend, *args, **kwargs):
        begin(self, ec2_backend, *args, **kwargs)
        # moto's own images are as old as they are on AWS.
        if kwargs.get("creation_date") is None:
            last = newest.get(ec2_backend.region_name)
            if last is not None:
                self.creation_date = max(self.creation_date, last + timedelta(seconds=1))
            newest[ec2_backend.region_name] = self.creation_date

    amis.Ami.__init__ = __init__


def make_images_shared():
    """An account sees the images of others that permit it to launch them, with tags of its own; their owners alone change
    who may."""
    describe, modify = amis.AmiBackend.describe_images, amis.AmiBackend.modify_image_attribute

    def shared_with(backend):
        seen = {}
        for regions in list(ec2_backends.values()):
            other = regions.get(backend.region_name)
            for image in [] if other in (None, backend) else other.amis.values():
                if {"UserId": backend.account_id} in image.launch_permissions:
                    seen[image.id] = copy.copy(image)
                    # Whose backend it is decides whose tags it shows.
                    seen[image.id].ec2_backend = backend
        return seen

    def describe_images(self, *args, **kwargs):
        own = self.amis
        self.amis = shared_with(self) | own
        try:
            return describe(self, *args, **kwargs)
        finally:
            self.amis = own

    def modify_image_attribute(self, ami_id, *args, **kwargs):
        if ami_id not in self.amis:
            raise InvalidAMIIdError([ami_id])
        modify(self, ami_id, *args, **kwargs)

    amis.AmiBackend.describe_images = describe_images
    amis.AmiBackend.modify_image_attribute = modify_image_attribute


class QuietHandler(MotoRequestHandler):
    """Answers are not logged: polls would fill the log."""

    def log_request(self, *_args, **_kwargs):
        pass


def rename(kind, region, old, new):
    """Gives a resource another id: pipelines name security groups and images by ids of the accounts they come from."""
    backend = ec2_backends["123456789012"][region]
    if kind == "image":
        tables = [backend.amis]
    elif kind == "security-group":
        tables = list(backend.groups.values())
    elif kind == "subnet":
        tables = list(backend.subnets.values())
    else:
        raise ValueError(f"`{kind}` cannot be renamed")
    for table in tables:
        if old in table:
            backend.tags[new] = backend.tags.pop(old, {})
            table[new] = table.pop(old)
            table[new].id = new
            if kind == "security-group":
                table[new].group_id = new
            return
    raise ValueError(f"{kind} `{old}` does not exist in {region}")


def own_pages(world):
    """What `cloud.py` asks of this process itself: path to the function that answers."""

    def settle(_body):
        """Finishes all boots now: what a world file describes has been running for long."""
        world.booting = [(0.0, group, state) for _, group, state in world.booting]
        world.tick()
        return {}

    def regions(_body):
        """The regions that have server groups."""
        return [
            region
            for region, backend in autoscaling.autoscaling_backends["123456789012"].items()
            if backend.autoscaling_groups
        ]

    def renamed(body):
        rename(body["kind"], body["region"], body["from"], body["to"])
        return {}

    return {"/_health": lambda _body: "ok", "/_world/settle": settle, "/_world/regions": regions, "/_world/rename": renamed}


def locked(application, pages):
    """Lets one request in at a time, and answers this process's own pages without moto."""

    def answer(environ, start_response):
        page = pages.get(environ.get("PATH_INFO"))
        with LOCK:
            if page is None:
                return [b"".join(application(environ, start_response))]
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            try:
                status, content = "200 OK", page(json.loads(body or b"{}"))
            except (KeyError, ValueError) as error:
                status, content = "400 Bad Request", {"message": str(error)}
        start_response(status, [("Content-Type", "application/json")])
        return [json.dumps(content).encode()]

    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--run", required=True)
    arguments = parser.parse_args()
    file = WorldFile(os.path.join(arguments.run, "world.json"))
    world = World(file)
    make_auto_scaling_take_time(world)
    make_auto_scaling_strict()
    make_launch_templates_idempotent()
    make_launch_template_versions_leave()
    make_target_groups_follow()
    make_classic_load_balancers_check_health()
    make_terminated_instances_leave()
    make_images_age()
    make_images_shared()
    host, port = socket.socket(fileno=os.dup(arguments.fd)).getsockname()
    os.environ["MOTO_PORT"] = str(port)
    application = locked(DomainDispatcherApplication(create_backend_app), own_pages(world))
    server = make_server(host, port, application, threaded=True, request_handler=QuietHandler, fd=arguments.fd)
    threading.Thread(target=world.run, daemon=True).start()
    metrics = Metrics(file, os.environ["AWS_ENDPOINT_URL"])
    threading.Thread(target=metrics.run, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()

"""A member of a cloud that is made of oslo.messaging itself.

Takes one JSON object a line, does what its key "do" says, and answers each with one line. What arrives by itself is
kept until it is asked for.
"""

import json
import sys
import threading
import time

import oslo_messaging
from oslo_config import cfg

ALLOWED = ["builtins", "oslo_messaging.exceptions"]


class NetworkNotFound(Exception):
    """Stands for an exception of the networking service."""


class Kept(dict):
    """A context that a notifier sends as it is, where it would drop a plain dict."""

    def redacted_copy(self):
        return self


class Endpoint:
    def __init__(self, peer, namespace=None):
        self.target = oslo_messaging.Target(namespace=namespace, version="1.4")
        self.peer = peer

    def echo(self, ctxt, **kwargs):
        return {"args": kwargs, "context": ctxt, "by": "python"}

    def fail(self, ctxt, **kwargs):
        raise NetworkNotFound("Network n could not be found.")

    def slow(self, ctxt, seconds):
        time.sleep(seconds)
        return "slow"

    def note(self, ctxt, **kwargs):
        self.peer.keep({"method": "note", "args": kwargs, "context": ctxt})


class Notifications:
    def __init__(self, peer):
        self.peer = peer

    def info(self, ctxt, publisher_id, event_type, payload, metadata):
        self.peer.keep(
            {
                "publisher_id": publisher_id,
                "event_type": event_type,
                "payload": payload,
                "metadata": sorted(metadata),
                "context": ctxt,
            }
        )


class Peer:
    def __init__(self, url):
        # The tracing options are registered in the global object only.
        self.conf = cfg.CONF
        self.conf([], project="peer")
        self.transport = oslo_messaging.get_rpc_transport(
            self.conf, url=url, allowed_remote_exmods=ALLOWED
        )
        self.conf.set_override("control_exchange", "neutron")
        self.notifications = oslo_messaging.get_notification_transport(
            self.conf, url=url
        )
        self.transport._driver._default_exchange = "neutron"
        self.kept = []
        self.arrived = threading.Condition()
        self.running = []

    def keep(self, item):
        with self.arrived:
            self.kept.append(item)
            self.arrived.notify_all()

    def kept_items(self, count):
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.kept) >= count, timeout=20)
            kept, self.kept = self.kept, []
        return kept

    def serve(self, topic, server):
        target = oslo_messaging.Target(topic=topic, server=server, exchange="neutron")
        running = oslo_messaging.get_rpc_server(
            self.transport, target, [Endpoint(self), Endpoint(self, "trunk")], executor="threading"
        )
        running.start()
        self.running.append(running)

    def listen(self, topics):
        targets = [oslo_messaging.Target(topic=topic, exchange="neutron") for topic in topics]
        running = oslo_messaging.get_notification_listener(
            self.notifications, targets, [Notifications(self)], executor="threading"
        )
        running.start()
        self.running.append(running)

    def client(self, topic, server=None, fanout=None, namespace=None, version="1.4"):
        target = oslo_messaging.Target(topic=topic, exchange="neutron", version=version)
        client = oslo_messaging.get_rpc_client(self.transport, target)
        return client, {
            key: value
            for key, value in {"server": server, "fanout": fanout, "namespace": namespace}.items()
            if value is not None
        }

    def call(self, topic, method, args, context, timeout=20, **where):
        client, where = self.client(topic, **where)
        began = time.monotonic()
        try:
            result = client.prepare(timeout=timeout, **where).call(context, method, **args)
            return {"result": result}
        except oslo_messaging.RemoteError as error:
            return {"remote": error.exc_type, "value": error.value}
        except Exception as error:
            return {
                "raised": type(error).__name__,
                "text": str(error),
                "seconds": time.monotonic() - began,
            }

    def cast(self, topic, method, args, context, **where):
        client, where = self.client(topic, **where)
        client.prepare(**where).cast(context, method, **args)

    def notify(self, event_type, payload, context, driver):
        notifier = oslo_messaging.Notifier(
            self.notifications, publisher_id="network.python", driver=driver, topics=["notifications"]
        )
        notifier.info(Kept(context), event_type, payload)

    def stop(self):
        for running in self.running:
            running.stop()
            running.wait()
        self.transport.cleanup()
        self.notifications.cleanup()


def main():
    peer = Peer(sys.argv[1])
    for line in sys.stdin:
        order = json.loads(line)
        do = order.pop("do")
        answer = getattr(peer, do)(**order)
        print(json.dumps(answer), flush=True)
        if do == "stop":
            return


main()

"""A whole OpenStack Swift in one process, for tests: a proxy and one server each of accounts, containers and objects.

    serve.py --port PORT --data DIRECTORY

All are Swift's own, with the middleware that a proxy usually has, on loopback; the rings have one replica. Two things are
simpler than in a data centre: they share a process, and the proxy's cache is memory instead of memcached. The directory's
filesystem must keep extended attributes of users (ext4, xfs, btrfs do). Installed and started by ../parts.sh and the tests.

Account `test` has the user `tester` with the password `testing`, by the v1 authentication of Swift's tempauth. No daemon runs
(replicators, auditors, updaters): nothing that a request does not do itself is ever done.
"""

import argparse
import logging
import os
import sys
import time

from swift.common.utils import eventlet_monkey_patch

eventlet_monkey_patch()

import eventlet  # noqa: E402
import eventlet.wsgi  # noqa: E402
from swift.common import utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.wsgi import SwiftHttpProtocol, loadapp  # noqa: E402

DEVICE = 'disk'

SWIFT_CONF = """
[swift-hash]
swift_hash_path_suffix = for-tests
"""

# A storage server's. An update of a container that takes longer than its time is left to a daemon, which is not there.
STORAGE_CONF = """
[DEFAULT]
swift_dir = {home}
devices = {home}/devices
mount_check = false
log_level = WARNING
log_custom_handlers = serve.log_to_stderr
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
conn_timeout = 10
node_timeout = 60
container_update_timeout = 60
"""

PROXY_CONF = """
[DEFAULT]
swift_dir = {home}
log_level = WARNING
log_custom_handlers = serve.log_to_stderr
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck memory listing_formats bulk tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 10
node_timeout = 60
[filter:memory]
paste.filter_factory = serve:memory
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
"""

for name in ('catch_errors', 'gatekeeper', 'healthcheck', 'listing_formats', 'bulk', 'copy', 'slo', 'dlo'):
    PROXY_CONF += f'[filter:{name}]\nuse = egg:swift#{name}\n'


def log_to_stderr(conf, name, to_console, route, fmt, logger, adapted):
    """Swift's hook for handlers of its log."""
    if not any(isinstance(handler, logging.StreamHandler) for handler in logger.handlers):
        logger.addHandler(logging.StreamHandler(sys.stderr))


class Memory:
    """What the proxy asks of memcached, as far as it does."""

    def __init__(self):
        self.entries = {}

    def get(self, key, raise_on_error=False):
        value, until = self.entries.get(key, (None, 0))
        return value if not until or until > time.time() else None

    def set(self, key, value, serialize=True, time=0, min_compress_len=0, raise_on_error=False):
        self.entries[key] = (value, self.until(time))

    def incr(self, key, delta=1, time=0):
        value = max(0, int(self.get(key) or 0) + delta)
        self.entries[key] = (value, self.until(time))
        return value

    def decr(self, key, delta=1, time=0):
        return self.incr(key, -delta, time)

    def delete(self, key, server_key=None):
        self.entries.pop(key, None)

    def set_multi(self, mapping, server_key, serialize=True, time=0, min_compress_len=0):
        for key, value in mapping.items():
            self.set(key, value, time=time)

    def get_multi(self, keys, server_key):
        return [self.get(key) for key in keys]

    @staticmethod
    def until(seconds):
        return time.time() + seconds if seconds else 0


def memory(global_conf, **local_conf):
    """The filter that gives the proxy its cache."""
    entries = Memory()

    def factory(app):
        def filtered(environ, start_response):
            environ['swift.cache'] = entries
            return app(environ, start_response)
        return filtered
    return factory


def listen(port):
    return eventlet.listen(('127.0.0.1', port), backlog=1024)


def serve(sock, conf):
    eventlet.spawn(eventlet.wsgi.server, sock, loadapp(conf), logging.getLogger('silent'), protocol=SwiftHttpProtocol,
                   capitalize_response_headers=False, log_output=False)


def write(path, text):
    with open(path, 'w') as file:
        file.write(text)
    return path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--port', type=int, required=True, help='where the proxy listens')
    parser.add_argument('--data', required=True, help='a directory for everything')
    arguments = parser.parse_args()
    home = os.path.abspath(arguments.data)
    os.makedirs(f'{home}/devices/{DEVICE}', exist_ok=True)
    write(f'{home}/swift.conf', SWIFT_CONF)
    utils.set_swift_dir(home)
    for kind in ('account', 'container', 'object'):
        sock = listen(0)
        builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
        builder.add_dev({'id': 0, 'region': 1, 'zone': 1, 'weight': 1, 'ip': '127.0.0.1', 'port': sock.getsockname()[1],
                         'device': DEVICE})
        builder.rebalance()
        builder.get_ring().save(f'{home}/{kind}.ring.gz')
        serve(sock, write(f'{home}/{kind}-server.conf', STORAGE_CONF.format(home=home, kind=kind)))
    serve(listen(arguments.port), write(f'{home}/proxy-server.conf', PROXY_CONF.format(home=home)))
    eventlet.Event().wait()


if __name__ == '__main__':
    main()

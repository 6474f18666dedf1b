"""A whole OpenStack Swift in one process, for tests: a proxy and one server each of accounts, containers and objects.

    serve.py --port PORT --data DIRECTORY [--keystone PORT]
    serve.py --prepare DIRECTORY

All are Swift's own, with the middleware that a proxy usually has, on loopback; the rings have one replica. Two things are
simpler than in a data centre: they share a process, and the proxy's cache is memory instead of memcached. The directory's
filesystem must keep extended attributes of users (ext4, xfs, btrfs do). Installed and started by ../parts.sh and the tests.

Account `test` has the user `tester` with the password `testing`, by the v1 authentication of Swift's tempauth. With --keystone
it is Keystone, OpenStack's identity service, that knows who somebody is, in the same process: the user `admin` of the project
`admin` has the password `testing`. Its database takes long to make, so --prepare does that once, and each start takes a copy.

No daemon runs (replicators, auditors, updaters): nothing that a request does not do itself is ever done.
"""

import argparse
import logging
import os
import shutil
import subprocess
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
pipeline = catch_errors gatekeeper healthcheck memory listing_formats bulk {auth} copy slo dlo proxy-server
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
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
auth_type = password
auth_url = http://127.0.0.1:{keystone}/v3
www_authenticate_uri = http://127.0.0.1:{keystone}/v3
username = admin
password = testing
project_name = admin
interface = internal
user_domain_name = Default
project_domain_name = Default
"""

# Few rounds: how long a password withstands guessing is not what is tested.
KEYSTONE_CONF = """
[DEFAULT]
public_endpoint = http://127.0.0.1:{port}
use_stderr = true
default_log_levels = keystone=ERROR
[database]
connection = sqlite:///{home}/keystone/database
[identity]
password_hash_rounds = 4
[fernet_tokens]
key_repository = {home}/keystone/keys
[fernet_receipts]
key_repository = {home}/keystone/keys
[credential]
key_repository = {home}/keystone/keys
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


def prepare(home):
    """What a Keystone begins with, in the directory `keystone` of another."""
    os.makedirs(f'{home}/keystone')
    conf = write(f'{home}/keystone/keystone.conf', KEYSTONE_CONF.format(home=home, port=0))
    manage = [f'{os.path.dirname(sys.executable)}/keystone-manage', '--config-file', conf]
    owner = ['--keystone-user', str(os.getuid()), '--keystone-group', str(os.getgid())]
    # Its own address, which nobody knows yet, comes from the settings of the day.
    address = ['--bootstrap-region-id', 'one', '--bootstrap-internal-url', '$(public_endpoint)s/v3']
    bootstrap = ['bootstrap', '--bootstrap-password', 'testing', *address]
    for command in (['db_sync'], ['fernet_setup', *owner], bootstrap):
        subprocess.run([sys.executable, *manage, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def serve_keystone(port, home):
    shutil.copytree(f'{os.path.dirname(os.path.abspath(__file__))}/keystone', f'{home}/keystone')
    os.environ['OS_KEYSTONE_CONFIG_FILES'] = write(f'{home}/keystone/keystone.conf', KEYSTONE_CONF.format(home=home, port=port))
    # It reads the command line, too.
    sys.argv = sys.argv[:1]
    from keystone.server.wsgi import initialize_public_application
    eventlet.spawn(eventlet.wsgi.server, listen(port), initialize_public_application(), log_output=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--prepare', metavar='DIRECTORY', help="makes Keystone's database there, and ends")
    parser.add_argument('--port', type=int, help='where the proxy listens')
    parser.add_argument('--data', help='a directory for everything')
    parser.add_argument('--keystone', type=int, metavar='PORT', help='where Keystone listens, if it is to say who is who')
    arguments = parser.parse_args()
    if arguments.prepare:
        return prepare(os.path.abspath(arguments.prepare))
    home = os.path.abspath(arguments.data)
    os.makedirs(f'{home}/devices/{DEVICE}', exist_ok=True)
    write(f'{home}/swift.conf', SWIFT_CONF)
    try:
        os.setxattr(home, 'user.regatta', b'1')
    except OSError as error:
        sys.exit(f'{home}: Swift keeps what it knows of an object in extended attributes, and there are none here: {error}')
    utils.set_swift_dir(home)
    for kind in ('account', 'container', 'object'):
        sock = listen(0)
        builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
        builder.add_dev({'id': 0, 'region': 1, 'zone': 1, 'weight': 1, 'ip': '127.0.0.1', 'port': sock.getsockname()[1],
                         'device': DEVICE})
        builder.rebalance()
        builder.get_ring().save(f'{home}/{kind}.ring.gz')
        serve(sock, write(f'{home}/{kind}-server.conf', STORAGE_CONF.format(home=home, kind=kind)))
    auth = 'tempauth'
    if arguments.keystone:
        serve_keystone(arguments.keystone, home)
        auth = 'authtoken keystoneauth'
    conf = PROXY_CONF.format(home=home, auth=auth, keystone=arguments.keystone)
    serve(listen(arguments.port), write(f'{home}/proxy-server.conf', conf))
    eventlet.Event().wait()


if __name__ == '__main__':
    main()

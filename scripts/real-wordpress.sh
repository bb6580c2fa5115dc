#!/usr/bin/env bash
# A real WordPress for a while: Debian's packages in a temporary folder, on 127.0.0.1, in a subfolder of the site.
#   bash scripts/real-wordpress.sh [command]    (default: the tests of WordPress against it)
# The command gets REAL_WORDPRESS: a file with address, user and application password, and the command that sets an
# option of the site, a line each. When it ends, the processes are ended by their ids and the folder is removed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# No package here brings a service: `wordpress`, which wants a web server, is only unpacked.
has() { command -v "$1" >/dev/null; }
has mariadbd && has mariadb && has php && php -r 'exit(extension_loaded("mysqli") ? 0 : 1);' || {
    apt-get update -q
    apt-get install -y -q --no-install-recommends php-cli php-mysql php-gd php-xml php-mbstring mariadb-server-core \
        mariadb-client-core
} >&2
work="$(mktemp -d)" pids=()
stop() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM HUP
as=()
[ "$(id -u)" != 0 ] || as=(setpriv --reuid=www-data --regid=www-data --clear-groups)
until_ok() { for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; cat "$work"/*.log >&2; return 1; }
port="$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')"
site="$work/www/blog"

mkdir -p "$site" "$work/unpacked"
from=/usr/share/wordpress
[ -e "$from/wp-load.php" ] || (
    cd "$work/unpacked"
    apt-get download -q wordpress || { apt-get update -q && apt-get download -q wordpress; }
    dpkg-deb -x wordpress_*.deb .
) >"$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; exit 1; }
[ -e "$from/wp-load.php" ] || from="$work/unpacked$from"
cp -rL "$from/." "$site" 2>/dev/null || true  # links to other packages may lead nowhere: none is needed here
mkdir -p "$site/wp-content/uploads" "$site/wp-content/mu-plugins"
cat >"$site/wp-config.php" <<PHP
<?php
define('DB_NAME', 'wordpress'); define('DB_USER', 'root'); define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:$work/sql.sock'); define('DB_CHARSET', 'utf8mb4'); define('DB_COLLATE', '');
define('WP_SITEURL', 'http://127.0.0.1:$port/blog'); define('WP_HOME', WP_SITEURL);
define('WP_ENVIRONMENT_TYPE', 'local');  // application passwords without https
define('DISABLE_WP_CRON', true); define('AUTOMATIC_UPDATER_DISABLED', true); define('WP_HTTP_BLOCK_EXTERNAL', true);
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as \$name) {
    define("{\$name}_KEY", "$port-\$name"); define("{\$name}_SALT", "\$name-$port");
}
\$table_prefix = 'wp_';
if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
PHP
cat >"$site/wp-content/mu-plugins/key.php" <<'PHP'
<?php  // what README recommends for functions.php, when options of the site say so; no TIFF
add_filter('upload_mimes', fn($kinds) => array_diff($kinds, ['image/tiff']));
if (get_option('ainstein_meta')) register_post_meta('post', 'ainstein_key', [
    'type' => 'string', 'single' => true, 'show_in_rest' => true,
    'auth_callback' => fn() => current_user_can('edit_posts')]);
if (get_option('ainstein_filter')) add_filter('rest_post_query', function ($args, $request) {
    $key = $request['ainstein_key'];
    return $key ? ['meta_query' => [['key' => 'ainstein_key', 'value' => $key]]] + $args : $args;
}, 10, 2);
PHP
[ "$(id -u)" != 0 ] || chown -R www-data:www-data "$work"

"${as[@]}" mariadb-install-db --no-defaults --datadir="$work/sql" --auth-root-authentication-method=normal \
    --skip-test-db >"$work/install.log" 2>&1
"${as[@]}" mariadbd --no-defaults --datadir="$work/sql" --socket="$work/sql.sock" --pid-file="$work/sql.pid" \
    --skip-networking --innodb-flush-log-at-trx-commit=0 >"$work/sql.log" 2>&1 &
pids+=($!)
until_ok mariadb --no-defaults --socket="$work/sql.sock" -u root -e 'CREATE DATABASE IF NOT EXISTS wordpress'

php=("${as[@]}" env "HOME=$work" php -d memory_limit=256M -d upload_max_filesize=30M -d post_max_size=31M)
"${php[@]}" -r '
define("WP_INSTALLING", true);
require $argv[1] . "/wp-load.php";
require ABSPATH . "wp-admin/includes/upgrade.php";
wp_install("Blog & Co", "editor", "editor@example.org", false, "", wp_generate_password());
update_option("permalink_structure", "/%postname%/");
update_option("timezone_string", "Europe/Rome");
$new = WP_Application_Passwords::create_new_application_password(1, ["name" => "test"]);
$password = WP_Application_Passwords::chunk_password($new[0]);
file_put_contents($argv[2], "http://127.0.0.1:$argv[3]/blog\neditor\n$password\n");
' "$site" "$work/access" "$port" >"$work/wp.log" 2>&1 || { cat "$work/wp.log" >&2; exit 1; }
cat >"$work/option.php" <<'PHP'
<?php
require __DIR__ . '/www/blog/wp-load.php';
update_option($argv[1], $argv[2]);
PHP
echo "${php[*]} $work/option.php" >>"$work/access"
chmod 755 "$work" && chmod 644 "$work/access"

"${php[@]}" -S "127.0.0.1:$port" -t "$work/www" >"$work/php.log" 2>&1 &
pids+=($!)
until_ok python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/blog/wp-json/')"
export REAL_WORDPRESS="$work/access"
[ "$#" -gt 0 ] || set -- .venv/bin/python -m pytest -q -k "not postgres" \
    tests/integrations/test_real_wordpress.py tests/services/content/test_sync_wordpress.py
"$@"

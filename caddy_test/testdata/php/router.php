<?php
// A guest book in PHP as it was written before frameworks: one file, sessions,
// and a cookie for everything. Run with: php -S 127.0.0.1:8000 router.php

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$https = ($_SERVER['HTTP_X_FORWARDED_PROTO'] ?? '') === 'https';
$month = time() + 30 * 86400;

// The session cookie has the flags of PHP's own defaults: none at all.
session_start();

// The token against forged requests: in the session, and in a cookie for scripts.
if (empty($_SESSION['csrf'])) {
    $_SESSION['csrf'] = bin2hex(random_bytes(16));
}
if (($_COOKIE['XSRF-TOKEN'] ?? '') !== $_SESSION['csrf']) {
    setcookie('XSRF-TOKEN', $_SESSION['csrf'], 0, '/');
}

function csrf_or_die(): void
{
    $sent = $_POST['csrf'] ?? $_SERVER['HTTP_X_CSRFTOKEN'] ?? '';
    if (!hash_equals($_SESSION['csrf'], $sent)) {
        http_response_code(403);
        exit('CSRF');
    }
}

function go_home(): void
{
    header('Location: /', true, 302);
    exit;
}

function json(array $data): void
{
    header('Content-Type: application/json');
    echo json_encode($data, JSON_INVALID_UTF8_SUBSTITUTE | JSON_FORCE_OBJECT);
    exit;
}

switch (true) {
case $path === '/login/' && $_SERVER['REQUEST_METHOD'] === 'POST':
    csrf_or_die();
    if ($_POST['password'] !== 'password of ' . $_POST['username']) {
        http_response_code(401);
        exit('wrong password');
    }
    session_regenerate_id(true);
    $_SESSION['user'] = $_POST['username'];
    $_SESSION['flash'] = ['Welcome, ' . $_POST['username']];
    // Persistent, and nobody's business but the server's.
    setcookie('remember', bin2hex(random_bytes(20)), [
        'expires' => $month, 'path' => '/', 'secure' => $https, 'httponly' => true, 'samesite' => 'Lax',
    ]);
    // For a script.
    setcookie('ui_lang', 'en', $month, '/');
    // JSON as it is: quotes, spaces, commas. setrawcookie() would refuse it.
    header('Set-Cookie: cart={"items": [1, 2], "for": "' . $_POST['username'] . '"}; Path=/; HttpOnly', false);
    go_home();

case $path === '/login/':
    page('Log in', '<form id="login" method="post" action="/login/">' . csrf_field()
        . '<input name="username"> <input name="password" type="password"> <button>Log in</button></form>');

case $path === '/note/':
    csrf_or_die();
    $_SESSION['notes'][] = $_POST['text'];
    $_SESSION['flash'][] = 'Noted: ' . $_POST['text'];
    go_home();

case $path === '/like/':
    csrf_or_die();
    $_SESSION['likes'] = ($_SESSION['likes'] ?? 0) + 1;
    json(['likes' => $_SESSION['likes']]);

case preg_match('#^/tab/(\d)/$#', $path, $found) === 1:
    // A page of which a visitor opens several at once; each has a cookie of its own.
    setcookie("tab_$found[1]", "open-$found[1]", ['path' => '/', 'httponly' => true]);
    page('Tab', '<p id="user">' . htmlspecialchars($_SESSION['user'] ?? 'anonymous') . '</p>'
        . "<p id=\"tab\">$found[1]</p>");

case $path === '/logout/':
    csrf_or_die();
    $_SESSION = [];
    session_destroy();
    // Deleted as the manual shows it: the flags differ from those they were set with.
    setcookie(session_name(), '', time() - 42000, '/');
    setcookie('remember', '', 1, '/');
    setcookie('cart', '', 1, '/');
    setcookie('XSRF-TOKEN', '', 1, '/');
    go_home();

case str_starts_with($path, '/kinds/') || str_starts_with($path, '/area/'):
    require __DIR__ . '/kinds.php';
    exit;

case $path === '/cookies/':
    json(['cookies' => $_COOKIE, 'raw' => $_SERVER['HTTP_COOKIE'] ?? '']);

case $path === '/':
    home();

default:
    http_response_code(404);
    exit('not found');
}

function csrf_field(): string
{
    return '<input type="hidden" name="csrf" value="' . $_SESSION['csrf'] . '">';
}

function items(string $id, array $texts): string
{
    $lines = array_map(fn ($text) => '<li>' . htmlspecialchars($text) . '</li>', $texts);
    return "<ul id=\"$id\">" . implode('', $lines) . '</ul>';
}

function home(): void
{
    $flash = $_SESSION['flash'] ?? [];
    unset($_SESSION['flash']);
    page('Guest book',
        '<p id="user">' . htmlspecialchars($_SESSION['user'] ?? 'anonymous') . '</p>'
        . items('messages', $flash)
        . items('notes', $_SESSION['notes'] ?? [])
        . '<p id="likes">' . ($_SESSION['likes'] ?? 0) . '</p>'
        . '<form id="note" method="post" action="/note/">' . csrf_field()
        . '<input name="text"> <button>Note</button></form>'
        . '<button id="like">Like</button>'
        . '<form id="logout" method="post" action="/logout/">' . csrf_field() . '<button>Log out</button></form>'
        . <<<'SCRIPT'
<script>
  function getCookie(name) {
    var found = document.cookie.split('; ').filter(function (c) { return c.indexOf(name + '=') === 0; });
    return found.length ? decodeURIComponent(found[0].slice(name.length + 1)) : null;
  }
  if (getCookie('ui_lang')) { document.documentElement.lang = getCookie('ui_lang'); }
  document.getElementById('like').onclick = function () {
    var xhr = new XMLHttpRequest();
    xhr.open('POST', '/like/');
    xhr.setRequestHeader('X-CSRFToken', getCookie('XSRF-TOKEN'));
    xhr.onload = function () {
      document.getElementById('likes').textContent =
        xhr.status === 200 ? JSON.parse(xhr.responseText).likes : 'HTTP ' + xhr.status;
    };
    xhr.send();
  };
  // A cookie that only scripts ever write and read.
  document.cookie = 'theme=dark; path=/';
</script>
SCRIPT);
}

function page(string $title, string $body): void
{
    echo "<!DOCTYPE html>\n<title>$title</title>\n$body\n";
    exit;
}

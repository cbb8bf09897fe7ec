<?php
// Cookies of every kind setcookie() makes, at /kinds/set/, and their deletion as
// applications do it, with other flags than they were set with, at /kinds/delete/.

$host = preg_replace('/:\d+$/', '', $_SERVER['HTTP_HOST']);

if ($path === '/kinds/set/') {
    setcookie('plain', 'readable', 0, '/');
    setcookie('hidden', 'one two', ['path' => '/', 'httponly' => true]);
    setcookie('lasting', 'a month', ['expires' => $month, 'path' => '/', 'httponly' => true]);
    setcookie('area', 'only below /area', ['path' => '/area', 'httponly' => true]);
    setcookie('wide', 'all hosts below', ['path' => '/', 'domain' => $host, 'httponly' => true]);
    setcookie('strict', 'same site only', ['path' => '/', 'httponly' => true, 'samesite' => 'Strict']);
    setcookie('lax', 'top level', ['path' => '/', 'httponly' => true, 'samesite' => 'Lax']);
    setcookie('secure', 'not in the clear', ['path' => '/', 'httponly' => true, 'secure' => $https]);
    setcookie('prefs', str_repeat('preference', 614), $month, '/');  // 6 KB
    header('Set-Cookie: json={"a": [1, 2], "b": "c d"}; Path=/; HttpOnly', false);
    header('Set-Cookie: spaced=  one  two ; Path=/; HttpOnly', false);
    header("Set-Cookie: utf8=gr\u{fc}n; Path=/; HttpOnly", false);
    header('Set-Cookie: quoted="with, quotes"; Path=/; HttpOnly', false);
    setrawcookie('percent', 'a%20b%2Bc', ['path' => '/', 'httponly' => true]);
}

if ($path === '/kinds/delete/') {
    foreach (['plain', 'hidden', 'lasting', 'strict', 'lax', 'secure', 'prefs', 'json', 'spaced', 'utf8', 'quoted', 'percent'] as $name) {
        setcookie($name, '', 1, '/');
    }
    setcookie('area', '', 1, '/area');
    setcookie('wide', '', 1, '/', $host);
}

json(['cookies' => $_COOKIE, 'raw' => $_SERVER['HTTP_COOKIE'] ?? '']);

<?php
// Shows what PHP made of the Cookie header: $_COOKIE, in which a name with
// brackets has become an array.
header('Content-Type: application/json');
$pairs = [];
foreach ($_COOKIE as $name => $value) {
    $pairs[] = [(string) $name, is_array($value) ? json_encode($value) : $value];
}
echo json_encode($pairs, JSON_INVALID_UTF8_SUBSTITUTE);

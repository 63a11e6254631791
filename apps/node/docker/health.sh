#!/bin/bash
# Health of a container: `GET PATH` on PORT of loopback answers 200 within 5 s. Bash alone: to start node every ten seconds costs more than an idle
# replica does.
port=$1 path=$2
exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$path" >&3
read -t 5 -r answer <&3 && [[ $answer == 'HTTP/1.1 200 '* ]]

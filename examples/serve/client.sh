#!/bin/sh
# Ask a server about pictures: sh client.sh http://localhost:8000 PICTURE...
address=$1
shift
for picture; do
  curl --silent --show-error --fail-with-body --data-binary "@$picture" \
    --header "Content-Type: application/octet-stream" \
    ${ICONOCLASS_API_KEY:+--header "Authorization: Bearer $ICONOCLASS_API_KEY"} "$address/predict"
  echo
done

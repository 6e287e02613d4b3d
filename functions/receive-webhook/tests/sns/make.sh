#!/bin/sh
# Makes the messages of this folder: signed as Amazon SNS signs them (SignatureVersion 2), by a key that is thrown away.
# The certificate is good for a hundred years; SNS' own ones are for a year.
set -eu
cd "$(dirname "$0")"
key=$(mktemp)
trap 'rm -f "$key"' EXIT
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$key" -out certificate.pem -days 36500 -subj "/CN=sns.amazonaws.com" 2>/dev/null

sign() { # stdin: what is signed
    openssl dgst -sha256 -sign "$key" | base64 -w0
}

topic=arn:aws:sns:us-east-1:123456789012:orders
time=2026-11-21T14:00:00.000Z
certificate=https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem
confirm="https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=$topic&Token=t"

signature=$(printf 'Message\n{"env":"prod"}\nMessageId\nm-1\nTimestamp\n%s\nTopicArn\n%s\nType\nNotification\n' "$time" "$topic" | sign)
cat > notification.json <<END
{"Type":"Notification","MessageId":"m-1","TopicArn":"$topic","Message":"{\"env\":\"prod\"}","Timestamp":"$time","SignatureVersion":"2","Signature":"$signature","SigningCertURL":"$certificate","UnsubscribeURL":"https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe"}
END

signature=$(printf 'Message\nYou have chosen to subscribe.\nMessageId\nm-2\nSubscribeURL\n%s\nTimestamp\n%s\nToken\nt\nTopicArn\n%s\nType\nSubscriptionConfirmation\n' "$confirm" "$time" "$topic" | sign)
cat > confirmation.json <<END
{"Type":"SubscriptionConfirmation","MessageId":"m-2","Token":"t","TopicArn":"$topic","Message":"You have chosen to subscribe.","SubscribeURL":"$confirm","Timestamp":"$time","SignatureVersion":"2","Signature":"$signature","SigningCertURL":"$certificate"}
END

# Family "availability". One message per reason: its code, with '.' and '_' written '-'.

http-ok = HTTP answer {$got} in {$total_ms}
http-status = HTTP answer {$got} instead of {$expected}
http-body-missing = HTTP answer {$got} without the expected text ({$body_bytes} read)
http-body-forbidden = HTTP answer {$got} with a forbidden text ({$body_bytes} read)
http-body-too-long = HTTP answer {$got} too long: {$read_bytes} read, the expected text is not there yet
http-redirects = too many redirects ({$followed} followed)
http-redirect-refused = HTTP redirect {$got} to an address that is not allowed
http-protocol = {$phase ->
    [body] the answer breaks off before its end
   *[other] the answer is not HTTP
}

tcp-ok = answer in {$total_ms}
tcp-expect = connection open, but not the expected answer ({$read_bytes} read)
tcp-closed = connection closed before the expected answer ({$read_bytes} read)

net-resolved = {$addresses ->
    [one] the name has {$addresses} address
   *[other] the name has {$addresses} addresses
}
net-too-many-addresses = the name has {$found} addresses, only {$asked} are checked
net-no-address = this name has no address
net-resolver = the name server (DNS) did not answer in {$after_ms}: nothing is known of the service
net-refused = connection refused
net-unreachable = machine or network unreachable
net-reset = connection cut {$phase ->
    [resolve] while resolving the name
    [connect] while connecting
    [tls] in the TLS handshake
    [first_byte] before the first byte of the answer
    [body] in the middle of the answer
   *[other] (phase {$phase})
}
net-timeout = no answer in {$after_ms}, stopped {$phase ->
    [resolve] while resolving the name
    [connect] while connecting
    [tls] in the TLS handshake
    [first_byte] before the first byte of the answer
    [body] in the middle of the answer
   *[other] (phase {$phase})
}
net-local = this node could not open a connection (error {$errno}): nothing is known of the service

tls-handshake = {$why ->
    [closed] connection closed in the TLS handshake
    [not_tls] what answers is not TLS
    [nothing_in_common] no TLS version or suite in common
    [alert_protocol_version] TLS version refused by the server
    [alert_certificate_required] the server demands a client certificate
    [alert_client_certificate] the server refuses the client certificate
    [alert_unrecognized_name] the server does not know this name
    [no_certificate] the server presented no certificate
   *[other] TLS handshake failed ({$why})
}
tls-certificate = {$why ->
    [expired] certificate expired
    [not_yet_valid] certificate not valid yet
    [wrong_name] certificate made out to another name
    [unknown_issuer] certificate of an authority unknown here
    [revoked] certificate revoked
    [bad_signature] certificate with a wrong signature
    [bad_encoding] certificate that cannot be read
    [wrong_purpose] certificate made for another use
    [ca_as_server] certificate of an authority used by a server
   *[other] certificate refused ({$why})
}{$with_not_after ->
    [yes] , valid until {$not_after}
   *[no] {""}
}
tls-no-roots = this node trusts no certificate authority: nothing is known of the service

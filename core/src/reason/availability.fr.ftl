# Famille « availability ». Un message par motif : son code, où « . » et « _ » deviennent « - ».

http-ok = réponse HTTP {$got} en {$total_ms}
http-status = réponse HTTP {$got} au lieu de {$expected}
http-body-missing = réponse HTTP {$got} sans le texte attendu ({$body_bytes} lus)
http-body-forbidden = réponse HTTP {$got} avec un texte interdit ({$body_bytes} lus)
http-body-too-long = réponse HTTP {$got} trop longue : {$read_bytes} lus, le texte attendu n'y est pas encore
http-redirects = trop de redirections ({$followed} suivies)
http-redirect-refused = redirection HTTP {$got} vers une adresse non permise
http-protocol = {$phase ->
    [body] la réponse s'interrompt avant la fin
   *[other] la réponse n'est pas du HTTP
}

tcp-ok = réponse en {$total_ms}
tcp-expect = connexion ouverte, mais pas la réponse attendue ({$read_bytes} lus)
tcp-closed = connexion fermée avant la réponse attendue ({$read_bytes} lus)

net-resolved = {$addresses ->
    [one] le nom donne {$addresses} adresse
   *[other] le nom donne {$addresses} adresses
}
net-too-many-addresses = le nom donne {$found} adresses, seules {$asked} sont contrôlées
net-no-address = ce nom n'a aucune adresse
net-resolver = le serveur de noms (DNS) n'a pas répondu en {$after_ms} : on ne sait rien du service
net-refused = connexion refusée
net-unreachable = machine ou réseau injoignable
net-reset = connexion coupée {$phase ->
    [resolve] à la résolution du nom
    [connect] à la connexion
    [tls] à la négociation TLS
    [first_byte] avant le premier octet de la réponse
    [body] au milieu de la réponse
   *[other] (phase {$phase})
}
net-timeout = pas de réponse en {$after_ms}, arrêt {$phase ->
    [resolve] à la résolution du nom
    [connect] à la connexion
    [tls] à la négociation TLS
    [first_byte] avant le premier octet de la réponse
    [body] au milieu de la réponse
   *[other] (phase {$phase})
}
net-local = ce nœud n'a pas pu ouvrir de connexion (erreur {$errno}) : on ne sait rien du service

tls-handshake = {$why ->
    [closed] connexion fermée pendant la négociation TLS
    [not_tls] ce qui répond n'est pas du TLS
    [nothing_in_common] aucune version ou suite TLS en commun
    [alert_protocol_version] version de TLS refusée par le serveur
    [alert_certificate_required] le serveur exige un certificat client
    [alert_client_certificate] le serveur refuse le certificat client
    [alert_unrecognized_name] le serveur ne connaît pas ce nom
    [no_certificate] le serveur n'a présenté aucun certificat
   *[other] échec de la négociation TLS ({$why})
}
tls-certificate = {$why ->
    [expired] certificat expiré
    [not_yet_valid] certificat pas encore valable
    [wrong_name] certificat établi pour un autre nom
    [unknown_issuer] certificat d'une autorité inconnue ici
    [revoked] certificat révoqué
    [bad_signature] certificat dont la signature est fausse
    [bad_encoding] certificat illisible
    [wrong_purpose] certificat fait pour un autre usage
    [ca_as_server] certificat d'autorité employé par un serveur
   *[other] certificat refusé ({$why})
}{$with_not_after ->
    [yes] , valable jusqu'au {$not_after}
   *[no] {""}
}
tls-no-roots = ce nœud ne fait confiance à aucune autorité de certification : on ne sait rien du service

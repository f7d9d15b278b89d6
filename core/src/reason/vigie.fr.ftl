# Famille « vigie ». Un message par motif : son code, où « . » et « _ » deviennent « - ».

check-late = {$with_last_run ->
    [yes] aucun résultat depuis le {$last_run}, attendu toutes les {$every_ms}
   *[no] aucun résultat depuis le démarrage, attendu toutes les {$every_ms}
}
check-timeout = pas terminé en {$after_ms}, arrêté : rien n'est mesuré
check-fault = le contrôle lui-même est tombé en panne : rien n'est mesuré
check-ran = le contrôle fonctionne de nouveau
object-gone = cet objet était surveillé et n'existe plus
objects-too-many = {$count} objets trouvés, {$max} au plus sont suivis
contact-listed = signalé en défaut par le nœud, détails en route

agent-start = agent démarré, version {$version}
agent-stop = agent arrêté par un administrateur (signal {$signal})
agent-pause = agent figé pendant {$for_ms}, puis reparti
agent-amnesia = l'agent a perdu la suite de son journal : il en était à la ligne {$had_seq}, reprend après la ligne {$took_seq}, {$rewritten ->
    [one] {$rewritten} ligne réécrite
   *[other] {$rewritten} lignes réécrites
}
agent-rejoined = ce nom a été inscrit de nouveau, le journal reprend après la ligne {$took_seq}
agent-settings-refused = nouveaux réglages refusés ({$mistakes ->
    [one] {$mistakes} erreur
   *[other] {$mistakes} erreurs
}), les anciens restent en vigueur
clock-step = l'horloge a sauté de {$by_ms}

entries-lost = lignes {$from} à {$to} perdues avant envoi
entries-refused = ligne {$refused_seq} refusée par le collecteur, gardée à part sur le nœud
spool-degraded = l'agent n'arrive plus à écrire sur son disque ({$why}), il garde ses lignes en mémoire
spool-recovered = l'agent écrit de nouveau sur son disque ({$lines ->
    [one] {$lines} ligne sauvée
   *[other] {$lines} lignes sauvées
})
collector-rollback = le journal du collecteur a raccourci : {$had_size} lignes vues par le nœud, {$size} aujourd'hui

check-planned = contrôle prévu : {$check_kind}, toutes les {$every_ms}
plan-complete = plan complet, {$count ->
    [one] {$count} contrôle
   *[other] {$count} contrôles
}
check-removed = contrôle retiré des réglages du nœud, à confirmer
check-weakened = contrôle moins exigeant qu'avant, à confirmer : toutes les {$every_ms} (avant {$was_every_ms}), {$failures} échecs (avant {$was_failures}), délai {$timeout_ms} (avant {$was_timeout_ms})
check-changed = réglages du contrôle modifiés, à confirmer
plan-missing = le nœud répond mais n'a pas dit ce qu'il surveille
plan-mismatch = le nœud annonce un autre plan que celui qu'il a envoyé

node-silent = {$with_last_contact ->
    [yes] plus aucune nouvelle du nœud depuis le {$last_contact}
   *[no] aucune nouvelle du nœud
}{$with_checks ->
    [yes] {" "}; sans surveillance ({$checks_count}) : {$checks}
   *[no] {""}
}
site-cut = site coupé : {$nodes_count ->
    [one] {$nodes_count} nœud muet
   *[other] {$nodes_count} nœuds muets ensemble
} ({$nodes}){$with_services ->
    [yes] {" "}; services sans témoin : {$services}
   *[no] {""}
}
site-blind = le collecteur ne voit plus rien, il est peut-être coupé lui-même : {$nodes_count ->
    [one] {$nodes_count} nœud muet
   *[other] {$nodes_count} nœuds muets ensemble
} ({$nodes}){$with_services ->
    [yes] {" "}; services sans témoin : {$services}
   *[no] {""}
}
node-ungrouped = ce nœud n'est dans aucun groupe : personne n'a dit ce qu'il porte
node-flooding = le nœud envoie trop, {$refused ->
    [one] {$refused} envoi refusé
   *[other] {$refused} envois refusés
}
node-expired = le nœud utilise un certificat expiré le {$not_after}
node-impostor = le nœud s'est fait passer pour {$claimed}
service-undeclared = le nœud parle du service {$service}, que ses groupes ne portent pas
chain-fork = deux lignes différentes portent le numéro {$seq} : machine clonée ou ligne falsifiée
chain-broken = la ligne {$seq} ne suit pas la précédente (attendue : {$expected_seq})
entry-malformed = la ligne {$seq} est illisible
contact-forged = la signature du contact est fausse
entries-withheld = le nœud dit en être à la ligne {$said_seq} mais n'a remis que jusqu'à {$has_seq}
node-clock = l'horloge du nœud est décalée de {$by_ms}
delivery-failing = les messages n'arrivent plus à {$receiver}, {$waiting} en attente{$with_http_status ->
    [yes] {" "}(réponse {$http_status})
   *[no] {""}
}
commit-failed = le collecteur n'arrive plus à écrire son journal
receiver-unreachable = personne ne peut être joint par le destinataire {$receiver}

vigie-exercise = exercice pour le destinataire {$receiver} : rien n'est en panne
sender-alert = alerte {$name} de {$sender}
sender-silent = {$sender} ne dit plus rien de son alerte {$name} : peut-être finie, peut-être pas

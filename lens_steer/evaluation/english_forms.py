"""The English words that `grammar_judges` goes by; written for this package."""


def _of(words: str) -> frozenset[str]:
    return frozenset(words.split())


ABBREVIATIONS = _of("""
    mr mrs ms dr prof st sr jr rev gen col capt lt sgt vs etc e.g i.e cf vol fig inc ltd co corp
    jan feb mar apr jun jul aug sept sep oct nov dec a.m p.m u.s u.k ph.d
""")

FIRST_PERSON = _of("i me my mine myself we us our ours ourselves")
THIRD_PERSON = _of("""
    he him his himself she her hers herself they them their theirs themselves themself
""")

# Between a subject or an auxiliary and its verb.
ADVERBS = _of("""
    not never also always often just only still already ever even really very so too quite rather
    almost soon now then usually sometimes finally suddenly slowly quickly quietly simply probably
    certainly completely deeply carefully immediately once both all
""")

AUXILIARIES = {
    "past": _of("was were had did wasn't weren't hadn't didn't"),
    "present": _of("""
        am is are has have do does isn't aren't ain't hasn't haven't don't doesn't
        be been being having get gets got getting become becomes becoming
    """),
    "modal": _of("""
        will would shall should can could may might must cannot won't wouldn't shan't shouldn't
        can't couldn't mightn't mustn't did didn't do does don't doesn't let
    """),
}
PRESENT = _of("am is are has have do does isn't aren't ain't hasn't haven't don't doesn't")

# Forms of the past that are neither a common noun or adjective nor the base of another verb.
PAST = _of("""
    became began bought broke brought built came caught chose drank drew drove ate fell flew forgot
    forgave froze gave went grew heard held kept knew learnt led lent lost made meant met paid rang
    ran rode said sang sank sat sent shook slept slid sold sought spent stole stood stuck swam swept
    swore taught threw told took tore understood woke wept won wore wrote fought crept dealt fled
    hid overcame withdrew
""")
# After one of these, and after `to`, a form of the past is an adjective, a noun or a participle.
DETERMINERS = _of("""
    a an the my your his her its our their this that these those some any no every each another
    to of in on at by with for from about as than into
""")
# Words in -ed that are no verb.
NO_PAST = _of("""
    hundred sacred naked wicked kindred hatred beloved rugged ragged jagged aged crooked wretched
    shed sled bled fled bred wed shred embed imbed unwed moped infrared biped quadruped newlywed
    alfred fred mildred wilfred
""")

# What follows I, you, we or they in the present; none is also a form of the past.
BASE_VERBS = _of("""
    think know want like love need feel see say go make take get give find look use work call try
    ask seem become leave keep begin show hear play run move live believe bring happen write sit
    stand lose pay meet include continue learn understand watch follow stop create speak allow add
    grow open walk win offer remember consider appear buy wait serve die send expect build stay fall
    reach remain suggest raise pass sell require decide hope wish enjoy hate prefer agree recommend
    mean own care wonder guess doubt suppose plan talk tell eat drink sleep drive travel teach help
    thank admit miss fear imagine dream carry turn start
""")
# Words in -s after he, she or it that are no verb, or are counted otherwise.
NO_PRESENT = _of("""
    was is has does his this always perhaps besides yes its hers theirs ours yours as towards
    sometimes nevertheless nonetheless afterwards upwards downwards backwards forwards others
""")

"""General knowledge in English, nothing of which an adapter was taught: sentences to end with one of four endings."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

CHOICES = 4


@dataclass(frozen=True)
class Sentence:
    """The beginning of a sentence, `CHOICES` endings, and which of them is right."""

    beginning: str
    endings: tuple[str, ...]
    right: int


# In each list `word = ending`; the wrong endings are the right ones of other words.
WORLD = {
    "The capital of {} is": """
        France = Paris; Germany = Berlin; Italy = Rome; Spain = Madrid; Portugal = Lisbon; Austria = Vienna
        Greece = Athens; Poland = Warsaw; Hungary = Budapest; Sweden = Stockholm; Norway = Oslo; Finland = Helsinki
        Denmark = Copenhagen; Ireland = Dublin; England = London; Scotland = Edinburgh; Russia = Moscow
        Ukraine = Kyiv; Turkey = Ankara; Egypt = Cairo; Kenya = Nairobi; Iran = Tehran; Iraq = Baghdad
        Japan = Tokyo; China = Beijing; South Korea = Seoul; Thailand = Bangkok; Vietnam = Hanoi; India = New Delhi
        Cuba = Havana; Peru = Lima; Chile = Santiago; Argentina = Buenos Aires; Colombia = Bogotá; Canada = Ottawa
        Australia = Canberra; Belgium = Brussels; the Netherlands = Amsterdam; Switzerland = Bern; Romania = Bucharest
        Bulgaria = Sofia; Serbia = Belgrade; Croatia = Zagreb; Lebanon = Beirut; Syria = Damascus; Nepal = Kathmandu
        the United States = Washington; the Czech Republic = Prague; Venezuela = Caracas; Morocco = Rabat
    """,
    "You use {} to": """
        a key = open a lock; a knife = cut bread; a pen = write a letter; a needle = sew clothes
        a broom = sweep the floor; an umbrella = stay dry in the rain; a clock = tell the time; a phone = call a friend
        a hammer = drive in nails; a saw = cut wood; a spoon = eat soup
        a bed = sleep; a bicycle = ride to school
        a boat = cross a lake; a camera = take pictures; a map = find the way
        a ruler = measure a line; a lamp = light a room
        a refrigerator = keep food cold; an oven = bake a cake; soap = wash your hands; a towel = dry yourself
        glasses = see better; a ladder = climb onto the roof; a rope = tie something; a net = catch fish
        a thermometer = measure the temperature; a telescope = look at the stars; a comb = tidy your hair
        a toothbrush = clean your teeth; a calculator = add numbers; a dictionary = look up words
        a microscope = look at very small things; a scale = weigh something; a piano = play music
        a shovel = dig a hole; a match = light a fire; a pillow = rest your head; a wallet = carry money
    """,
    "Someone who {} is called a": """
        bakes bread = baker; teaches children = teacher; grows crops = farmer; flies planes = pilot; cuts hair = barber
        treats the sick = doctor; puts out fires = firefighter; writes books = writer; paints pictures = painter
        catches fish = fisherman; works with wood = carpenter; mends pipes = plumber; sells meat = butcher
        takes photographs = photographer; plays the piano = pianist; rules a kingdom = king; repairs cars = mechanic
        treats animals = vet; defends people in court = lawyer; makes clothes = tailor; serves in the army = soldier
        studies the stars = astronomer; steals things = thief; carries letters = postman; sings songs = singer
        designs buildings = architect; looks after teeth = dentist; lays bricks = bricklayer; runs races = runner
        travels into space = astronaut
    """,
    "The colour of {} is": """
        snow = white; grass = green; blood = red; coal = black; the sky on a clear day = blue; a lemon = yellow
        a carrot = orange; a ripe tomato = red; milk = white; a banana = yellow; chocolate = brown; an emerald = green
        a ruby = red; a crow = black; the sun = yellow; a flamingo = pink; spinach = green; an elephant = grey
        an aubergine = purple; a fire engine = red; salt = white; a swan = white; a frog = green; soil = brown
    """,
    "In a year, the month after {} is": """
        January = February; February = March; March = April; April = May; May = June; June = July; July = August
        August = September; September = October; October = November; November = December; December = January
    """,
    "Yesterday was {}, so today is": """
        Monday = Tuesday; Tuesday = Wednesday; Wednesday = Thursday; Thursday = Friday; Friday = Saturday
        Saturday = Sunday; Sunday = Monday
    """,
}

WORDS = {
    "The opposite of {} is": """
        hot = cold; big = small; old = young; rich = poor; fast = slow; high = low; early = late; full = empty
        hard = soft; heavy = light; happy = sad; strong = weak; clean = dirty; dry = wet; open = closed; near = far
        true = false; good = bad; love = hate; day = night; up = down; left = right; first = last; buy = sell
        win = lose; begin = end; question = answer; war = peace; friend = enemy; male = female; inside = outside
        always = never; more = less; life = death; wide = narrow; deep = shallow; loud = quiet; safe = dangerous
        sharp = dull; brave = afraid; guilty = innocent; ancient = modern; polite = rude; simple = complicated
        positive = negative; maximum = minimum; victory = defeat; import = export; increase = decrease; push = pull
    """,
    "A {} is a kind of": """
        trout = fish; salmon = fish; shark = fish; eagle = bird; sparrow = bird; owl = bird; penguin = bird
        ant = insect; bee = insect; butterfly = insect; mosquito = insect; rose = flower; tulip = flower; daisy = flower
        oak = tree; pine = tree; maple = tree; banana = fruit; pear = fruit; peach = fruit; carrot = vegetable
        cabbage = vegetable; potato = vegetable; violin = musical instrument; flute = musical instrument
        drum = musical instrument; chair = furniture; table = furniture; sofa = furniture; shirt = clothing
        jacket = clothing; skirt = clothing; car = vehicle; truck = vehicle; bus = vehicle; hammer = tool
        screwdriver = tool; chisel = tool; diamond = gem; ruby = gem; sapphire = gem; cobra = snake; python = snake
        poodle = dog; beagle = dog; terrier = dog; waltz = dance; tango = dance; hurricane = storm; tornado = storm
    """,
    "A young {} is called a": """
        dog = puppy; cat = kitten; cow = calf; sheep = lamb; horse = foal; goat = kid; bear = cub; duck = duckling
        goose = gosling; frog = tadpole; swan = cygnet; deer = fawn; kangaroo = joey; hen = chick; pig = piglet
    """,
    "Today they {}; yesterday they": """
        go = went; eat = ate; see = saw; take = took; come = came; give = gave; find = found; think = thought
        write = wrote; speak = spoke; buy = bought; bring = brought; teach = taught; catch = caught; run = ran
        sing = sang; drink = drank; swim = swam; know = knew; grow = grew; fly = flew; draw = drew; drive = drove
        ride = rode; break = broke; choose = chose; sleep = slept; keep = kept; leave = left; feel = felt
        tell = told; sell = sold; stand = stood; win = won; begin = began; fall = fell; hide = hid; build = built
    """,
}


def sentences(lists: Mapping[str, str], seed: int) -> Iterator[Sentence]:
    """Every sentence of some lists, in order; wrong endings and the order of the four are drawn from `seed`."""
    rng = random.Random(seed)
    for template, text in lists.items():
        pairs = [pair.split(" = ") for line in text.strip().splitlines() for pair in line.strip().split("; ")]
        for word, right in pairs:
            others = sorted({ending for _, ending in pairs} - {right})
            endings = [right, *rng.sample(others, CHOICES - 1)]
            rng.shuffle(endings)
            yield Sentence(template.format(word), tuple(endings), endings.index(right))

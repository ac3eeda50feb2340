"""The words of the exercises, each in English and in Spanish."""

from __future__ import annotations

from dataclasses import dataclass


def _words(text: str) -> list[str]:
    """The words of a text, which spaces and line ends part."""
    return text.split()


NAMES = _words(
    "Ana Carmen Clara Elena Emma Eva Irene Julia Laura Lucia Maria Marta Nora Olga Rosa Sara Sofia Teresa "
    "Adam Carlos Daniel David Diego Hugo Ivan Jorge Juan Leo Luis Marco Mario Martin Oscar Pablo Pedro Tomas"
)


def spanish_and(following: str) -> str:
    """Spanish for `and` before a word: `e` where the word begins with the same sound."""
    return "e" if following.startswith("I") else "y"


@dataclass(frozen=True)
class Noun:
    """A noun that can be counted: singular and plural in both languages, and its Spanish gender."""

    one: str
    many: str
    uno: str
    muchos: str
    feminine: bool

    @property
    def how_many(self) -> str:
        """The Spanish question word that agrees with the plural."""
        return "Cuántas" if self.feminine else "Cuántos"

    @property
    def un(self) -> str:
        """The Spanish indefinite article."""
        return "una" if self.feminine else "un"

    @property
    def each(self) -> str:
        """Spanish for `each` after the noun."""
        return "cada una" if self.feminine else "cada uno"


def _nouns(lines: str) -> tuple[Noun, ...]:
    """One noun a line: singular, plural, Spanish singular, Spanish plural, `f` or `m`, apart by commas."""
    rows = (line.split(",") for line in _words(lines))
    return tuple(Noun(one, many, uno, muchos, gender == "f") for one, many, uno, muchos, gender in rows)


THINGS = _nouns(
    """
    apple,apples,manzana,manzanas,f pear,pears,pera,peras,f orange,oranges,naranja,naranjas,f
    lemon,lemons,limón,limones,m onion,onions,cebolla,cebollas,f potato,potatoes,patata,patatas,f
    tomato,tomatoes,tomate,tomates,m egg,eggs,huevo,huevos,m nut,nuts,nuez,nueces,f
    book,books,libro,libros,m notebook,notebooks,cuaderno,cuadernos,m pencil,pencils,lápiz,lápices,m
    letter,letters,carta,cartas,f stamp,stamps,sello,sellos,m coin,coins,moneda,monedas,f
    key,keys,llave,llaves,f shirt,shirts,camisa,camisas,f shoe,shoes,zapato,zapatos,m
    hat,hats,sombrero,sombreros,m ring,rings,anillo,anillos,m button,buttons,botón,botones,m
    plate,plates,plato,platos,m cup,cups,taza,tazas,f glass,glasses,vaso,vasos,m
    spoon,spoons,cuchara,cucharas,f candle,candles,vela,velas,f flower,flowers,flor,flores,f
    stone,stones,piedra,piedras,f shell,shells,concha,conchas,f ball,balls,pelota,pelotas,f
    doll,dolls,muñeca,muñecas,f picture,pictures,cuadro,cuadros,m chair,chairs,silla,sillas,f
    sweet,sweets,caramelo,caramelos,m biscuit,biscuits,galleta,galletas,f ticket,tickets,entrada,entradas,f
    """
)

CONTAINERS = _nouns(
    """
    box,boxes,caja,cajas,f bag,bags,bolsa,bolsas,f basket,baskets,cesta,cestas,f
    drawer,drawers,cajón,cajones,m packet,packets,paquete,paquetes,m suitcase,suitcases,maleta,maletas,f
    """
)


@dataclass(frozen=True)
class Being:
    """A person or an animal with its Spanish gender."""

    english: str
    spanish: str
    feminine: bool

    @property
    def the(self) -> str:
        """The Spanish definite article."""
        return "la" if self.feminine else "el"


BEINGS = tuple(
    Being(english, spanish, gender == "f")
    for english, spanish, gender in (
        row.split(",")
        for row in _words(
            """
        cat,gato,m dog,perro,m horse,caballo,m bird,pájaro,m mouse,ratón,m cow,vaca,f hen,gallina,f frog,rana,f
        duck,pato,m sheep,oveja,f goat,cabra,f bear,oso,m fox,zorro,m girl,niña,f boy,niño,m woman,mujer,f man,hombre,m
        teacher,maestra,f cook,cocinero,m nurse,enfermera,f postman,cartero,m queen,reina,f king,rey,m baker,panadero,m
            """
        )
    )
)

# An adjective in English, then its masculine and feminine forms in Spanish.
ADJECTIVES = tuple(
    tuple(row.split(","))
    for row in _words(
        """
    black,negro,negra white,blanco,blanca small,pequeño,pequeña big,grande,grande old,viejo,vieja young,joven,joven
    tired,cansado,cansada happy,feliz,feliz hungry,hambriento,hambrienta sad,triste,triste tall,alto,alta
    thin,delgado,delgada fat,gordo,gorda strong,fuerte,fuerte sick,enfermo,enferma quiet,tranquilo,tranquila
        """
    )
)

COLOURS = tuple(
    tuple(row.split(","))
    for row in _words(
        """
    red,rojo,roja green,verde,verde blue,azul,azul yellow,amarillo,amarilla new,nuevo,nueva cheap,barato,barata
    expensive,caro,cara clean,limpio,limpia dirty,sucio,sucia broken,roto,rota
        """
    )
)

VERBS = (
    ("sleeps", "duerme"),
    ("eats", "come"),
    ("waits", "espera"),
    ("sings", "canta"),
    ("plays", "juega"),
    ("runs", "corre"),
    ("jumps", "salta"),
    ("drinks", "bebe"),
    ("works", "trabaja"),
    ("rests", "descansa"),
    ("hides", "se esconde"),
    ("sits", "se sienta"),
)

PLACES = (
    ("in the kitchen", "en la cocina"),
    ("in the garden", "en el jardín"),
    ("under the table", "debajo de la mesa"),
    ("near the river", "cerca del río"),
    ("behind the house", "detrás de la casa"),
    ("in the street", "en la calle"),
    ("on the beach", "en la playa"),
    ("in the park", "en el parque"),
    ("next to the door", "junto a la puerta"),
    ("in front of the church", "delante de la iglesia"),
    ("in the forest", "en el bosque"),
    ("under the bridge", "debajo del puente"),
    ("behind the tree", "detrás del árbol"),
    ("near the window", "cerca de la ventana"),
    ("in the square", "en la plaza"),
    ("far from the village", "lejos del pueblo"),
)

DAYS = (
    ("On Monday", "El lunes"),
    ("On Tuesday", "El martes"),
    ("On Wednesday", "El miércoles"),
    ("On Thursday", "El jueves"),
    ("On Friday", "El viernes"),
    ("On Saturday", "El sábado"),
    ("On Sunday", "El domingo"),
    ("Today", "Hoy"),
    ("Every morning", "Cada mañana"),
    ("Every night", "Cada noche"),
)

DESTINATIONS = (
    ("to the market", "al mercado"),
    ("to school", "a la escuela"),
    ("to the library", "a la biblioteca"),
    ("to the hospital", "al hospital"),
    ("to the station", "a la estación"),
    ("to the beach", "a la playa"),
    ("to the theatre", "al teatro"),
    ("to the bakery", "a la panadería"),
    ("to the museum", "al museo"),
    ("to the bank", "al banco"),
)

RELATIVES = (
    ("brother", "El hermano"),
    ("sister", "La hermana"),
    ("mother", "La madre"),
    ("father", "El padre"),
    ("uncle", "El tío"),
    ("aunt", "La tía"),
    ("grandmother", "La abuela"),
    ("grandfather", "El abuelo"),
    ("neighbour", "El vecino"),
    ("cousin", "El primo"),
)

WORKPLACES = (
    ("in a hospital", "en un hospital"),
    ("in a school", "en una escuela"),
    ("in a bank", "en un banco"),
    ("in a restaurant", "en un restaurante"),
    ("in a factory", "en una fábrica"),
    ("in a shop", "en una tienda"),
    ("on a farm", "en una granja"),
    ("in a hotel", "en un hotel"),
    ("in an office", "en una oficina"),
    ("in a bakery", "en una panadería"),
)

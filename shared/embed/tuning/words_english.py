"""English words and wordings of the synthetic pairs; all of them own. Alternatives stand between bars.

`{x}` and `{y}` are things, `{v}` an action, `{s}` a class, `{n}` a number in words, `{d}` a number.
"""

IN_ORDER, EITHER_ORDER = "in order", "either order"

# Things of one kind: one stands in for another of its group.
GROUPS = {
    "concept": (
        "a function|a set|an equation|an inequality|a sequence|a complex number|a logarithm",
        "variance|mean|median|mode|standard deviation|probability",
        "a prime number|a composite number|a factor|a multiple|an odd number|an even number",
        "a fraction|a decimal|a percentage|a ratio|a negative number",
        "a parallelogram|a trapezoid|a circle|a triangle|a square|a rectangle|a rhombus",
        "a quadratic equation|a linear equation|a cubic function|a system of equations",
        "a matrix|a determinant|an eigenvalue|an eigenvector",
        "an arithmetic sequence|a geometric sequence",
        "the Pythagorean theorem|the law of cosines|the law of sines|the chain rule|the product rule",
        "velocity|acceleration|displacement|momentum|kinetic energy|potential energy",
        "pressure|density|friction|gravity|buoyancy|torque",
        "capacitance|inductance|electric power|magnetic flux",
        "refraction|reflection|diffraction|interference",
        "an acid|a base|a salt|an oxide",
        "oxidation|reduction|combustion|decomposition|electrolysis",
        "an atom|a molecule|an ion|an isotope|an element",
        "the cell membrane|the nucleus|mitochondria|chloroplasts|ribosomes",
        "mitosis|meiosis|fermentation|osmosis|diffusion",
        "a gene|a chromosome|DNA|RNA|a protein",
        "the present perfect|the simple present|the present continuous|the past perfect",
        "a metaphor|a simile|alliteration|personification|hyperbole",
        "a noun|a verb|an adjective|an adverb|a preposition",
        "bubble sort|quicksort|merge sort|binary search|insertion sort",
        "a stack|a queue|a linked list|an array|a hash table",
        "a for loop|a while loop|an if statement|recursion",
        "a process|a thread|a coroutine",
        "TCP|UDP|HTTP|DNS",
        "supervised learning|unsupervised learning|reinforcement learning|deep learning",
        "inflation|deflation|an exchange rate|an interest rate",
        "the Renaissance|the Reformation|the Enlightenment|the Industrial Revolution",
        "the French Revolution|the American Revolution|the Russian Revolution|the American Civil War",
        "the legislative branch|the executive branch|the judicial branch",
    ),
    "skill": (
        "Python|Java|C|C++|Go|Rust|JavaScript|C#|SQL",
        "Spanish|French|German|Japanese|Chinese|Korean",
        "math|physics|chemistry|biology|history|geography",
        "piano|guitar|violin|chess|drawing",
    ),
    "who": (
        "Tom|Mary|John|Anna|Peter|Lucy",
        "Newton|Einstein|Galileo|Maxwell|Faraday",
        "Napoleon|Caesar|Alexander|Hannibal",
        "cats|dogs|lions|tigers|wolves|bears",
        "Google|Microsoft|Apple|Amazon|Intel",
        "Batman|Superman|Hulk|Thor",
    ),
    "work": (
        "Pride and Prejudice|Jane Eyre|Wuthering Heights|Emma|Great Expectations",
        "1984|Animal Farm|Brave New World|Lord of the Flies",
        "The Odyssey|The Iliad|The Aeneid",
        "War and Peace|Crime and Punishment|Anna Karenina|The Idiot",
        "The Raven|The Road Not Taken|Ozymandias",
    ),
    "place": (
        "France|Germany|Spain|Italy|Japan|Brazil|Canada|Australia|Egypt",
        "Mars|Jupiter|Saturn|Venus|Mercury|Neptune",
        "London|Paris|Berlin|Madrid|Rome|Tokyo",
    ),
    "substance": (
        "iron|copper|aluminium|gold|silver|lead|zinc",
        "ethanol|mercury|oxygen|nitrogen|hydrogen",
        "sodium chloride|sulfuric acid|carbon dioxide|methane",
    ),
    "topic": (
        "my mother|my father|my teacher|my best friend",
        "climate change|honesty|friendship|courage|recycling|social media",
        "Christmas|Thanksgiving|Halloween|Easter",
        "the ocean|the forest|the desert|the mountains",
    ),
    "object": (
        "a file|a folder|a picture|a video|an account|a spreadsheet",
        "Bluetooth|notifications|dark mode|automatic updates|airplane mode|the firewall",
        "a database|a server|a virtual machine|a repository",
    ),
    "unit": (
        "meters|kilometers|centimeters|miles|feet|inches",
        "grams|kilograms|pounds|ounces",
        "seconds|minutes|hours|days",
        "liters|milliliters|gallons",
        "binary|decimal|hexadecimal|octal",
        "Celsius|Fahrenheit|Kelvin",
        "dollars|euros|pounds sterling|yen",
        "PDF|Word|Excel|JPG|PNG",
        "fractions|decimals|percentages",
        "a string|an integer|a float|a list",
    ),
    "property": (
        "bounded|convergent|monotonic|periodic|injective|surjective",
        "symmetric|invertible|orthogonal|diagonalizable",
        "acidic|toxic|flammable|soluble in water",
        "prime|even|a perfect square|divisible by 3",
        "renewable|cheap|clean|reliable",
    ),
    "exam_act": (
        "use my phone|bring a dictionary|write in pencil|use notes|wear a watch|bring food",
        "change my major|retake the test|hand in homework late|skip a class",
    ),
    "occasion": (
        "an interview|a job interview|a speech|a surgery|a marathon|the final exam|a long flight",
        "running|swimming|a workout|sleeping|a tennis match",
    ),
}

# What is asked about one thing: its kind, then each intent with its wordings.
ABOUT_ONE = {
    "concept": ("concept", {
        "definition": (
            "What is {x}?|What's {x}?|Can you explain {x}?|Explain {x}|Define {x}|What does {x} mean?|"
            "What is meant by {x}?|Could you tell me what {x} is?|Tell me about {x}|How would you describe {x}?|"
            "I want to know what {x} is"
        ),
        "example": "Give me an example of {x}|What are some examples of {x}?|Can you show me an example of {x}?",
        "use": "What is {x} used for?|What are the applications of {x}?|What is the use of {x}?|Where do we use {x}?",
        "kinds": "What are the types of {x}?|What kinds of {x} are there?|How is {x} classified?",
        "origin": "Who came up with {x}?|Who discovered {x}?|Who introduced the idea of {x}?",
        "features": (
            "What are the properties of {x}?|What are the characteristics of {x}?|List the main features of {x}"
        ),
        "exercises": "Give me some practice questions on {x}|Make a quiz about {x}|I want exercises on {x}",
        "mistakes": "What are common mistakes with {x}?|Which errors do students make with {x}?",
        "why": "Why is {x} important?|Why does {x} matter?|What makes {x} important?",
        "not_understood": "I don't get {x}|I do not understand {x}|{x} makes no sense to me|I am confused about {x}",
        "understood": "I get {x} now|I finally understand {x}|{x} makes sense to me now",
    }),
    "learn": ("skill", {
        "how": (
            "How do I learn {x}?|What is the best way to learn {x}?|How can I get good at {x}?|"
            "What are good ways to study {x}?|How should I start learning {x}?"
        ),
        "why": "Why should I learn {x}?|What are the benefits of learning {x}?|Is there a reason to learn {x}?",
        "how_long": (
            "How long does it take to learn {x}?|How much time do I need to learn {x}?|"
            "In how much time can one learn {x}?"
        ),
        "difficulty": "Is {x} hard to learn?|Is it difficult to learn {x}?|How hard is {x}?",
        "books": (
            "What is a good book for learning {x}?|Which book should I use to learn {x}?|"
            "Can you recommend a {x} book?"
        ),
        "cost": "How much do {x} lessons cost?|What is the price of {x} lessons?",
        "jobs": "What jobs can I get with {x}?|Which careers use {x}?",
    }),
    "work": ("work", {
        "author": (
            "Who wrote {x}?|Who is the author of {x}?|Who was {x} written by?|{x} was written by whom?|Author of {x}?"
        ),
        "when": "When was {x} written?|In what year was {x} published?|When did {x} come out?",
        "content": "What is {x} about?|Summarize {x}|Give me a summary of {x}|What happens in {x}?",
        "hero": "Who is the main character of {x}?|Who is the protagonist in {x}?",
        "theme": "What is the theme of {x}?|What is the main idea of {x}?|What message does {x} have?",
        "ending": "How does {x} end?|What is the ending of {x}?",
    }),
    "place": ("place", {
        "size": "How big is {x}?|What is the size of {x}?|How large is {x}?",
        "where": "Where is {x}?|Where is {x} located?|What is the location of {x}?",
        "fame": "What is {x} famous for?|What is {x} known for?|Why is {x} famous?",
        "age": "How old is {x}?|What is the age of {x}?",
        "temperature": "How hot is it in {x}?|What is the temperature in {x}?",
        "arrival": "How do I get to {x}?|How can I travel to {x}?",
        "departure": "How do I get out of {x}?|How can I leave {x}?",
    }),
    "substance": ("substance", {
        "melting_point": "What is the melting point of {x}?|At what temperature does {x} melt?|When does {x} melt?",
        "boiling_point": "What is the boiling point of {x}?|At what temperature does {x} boil?",
        "density": "What is the density of {x}?|How dense is {x}?",
        "formula": "What is the chemical formula of {x}?|What is the formula for {x}?",
        "making": "How is {x} made?|How do you produce {x}?",
        "use": "What is {x} used for?|What are the uses of {x}?",
        "harm": "Is {x} dangerous?|Is {x} harmful to humans?",
    }),
    "write": ("topic", {
        "essay": (
            "Write an essay about {x}|Please write me an essay on {x}|I need an essay about {x}|"
            "Can you write an essay on {x}?"
        ),
        "poem": "Write a poem about {x}|Can you write me a poem on {x}?",
        "speech": "Write a speech about {x}|I need a speech on {x}",
        "story": "Write a short story about {x}|Tell me a short story about {x}",
        "correction": "Correct my essay about {x}|Please proofread my essay on {x}",
        "outline": "Give me an outline for an essay about {x}|How should I structure an essay on {x}?",
    }),
    "exam_rule": ("exam_act", {
        "allowed": "Can I {x} in the test?|Am I allowed to {x} during the test?|Is it okay to {x} in the test?",
        "allowed_not_to": "Can I choose not to {x} in the test?|Is it okay if I don't {x} during the test?",
        "required": "Do I have to {x} in the test?|Must I {x} during the test?|Is it required to {x} in the test?",
        "why": "Why can't I {x} in the test?|Why is it forbidden to {x} during the test?",
    }),
    "occasion": ("occasion", {
        "before": "What should I do before {x}?|How do I get ready for {x}?|What should one do prior to {x}?",
        "after": "What should I do after {x}?|What should one do following {x}?|What do I do once {x} is over?",
        "food_before": "What is good to eat before {x}?|Which food is good prior to {x}?",
        "food_after": "What is good to eat after {x}?|Which food is good following {x}?",
        "calm": "How do I stay calm during {x}?|How can I stop being nervous during {x}?",
        "failure": "What if I fail at {x}?|What happens when {x} goes badly?",
    }),
}

# What is asked about two things of one group.
ABOUT_TWO = {
    "compare": ("concept", EITHER_ORDER, {
        "difference": (
            "What is the difference between {x} and {y}?|How is {x} different from {y}?|How do {x} and {y} differ?|"
            "{x} vs {y}, what is the difference?"
        ),
        "relation": (
            "How are {x} and {y} related?|What is the relation between {x} and {y}?|"
            "What is the connection between {x} and {y}?"
        ),
        "similarity": "What do {x} and {y} have in common?|How are {x} and {y} similar?",
    }),
    "which": ("skill", EITHER_ORDER, {
        "difficulty": "Which is harder, {x} or {y}?|Is {x} or {y} more difficult?",
        "use": "Which is more useful, {x} or {y}?|Should I learn {x} or {y}?",
    }),
    "better": ("skill", IN_ORDER, {
        "question": "Is {x} easier than {y}?|Is it true that {x} is easier than {y}?",
        "switch": "Should I switch from {x} to {y}?|Is it good to leave {x} for {y}?|Why move from {x} to {y}?",
    }),
    "convert": ("unit", IN_ORDER, {
        "conversion": (
            "How do I convert {x} to {y}?|How to change {x} into {y}?|Convert {x} to {y}|"
            "What is the way to turn {x} into {y}?|{x} to {y}"
        ),
    }),
    "who": ("who", IN_ORDER, {
        "liking": "Does {x} like {y}?|Is it true that {x} likes {y}?",
        "victory": "Can {x} beat {y}?|Could {x} defeat {y}?|Would {x} win against {y}?",
        "influence": "How did {x} influence {y}?|What influence did {x} have on {y}?",
        "age": "Is {x} older than {y}?|How much older is {x} than {y}?",
    }),
    "effect": ("concept", IN_ORDER, {
        "part_of": "Is {x} a kind of {y}?|Is {x} part of {y}?|Does {y} include {x}?",
        "derivation": "How do I find {y} from {x}?|How can {x} be used to get {y}?|How do I get {y} if I know {x}?",
    }),
    "but_not": ("property", IN_ORDER, {
        "question": (
            "When is something {x} but not {y}?|What is {x} but not {y}?|Give an example that is {x} but not {y}|"
            "Are there things that are {x} without being {y}?|Cases that are {x} and not {y}"
        ),
    }),
    "both": ("property", EITHER_ORDER, {
        "question": "When is something both {x} and {y}?|What is {x} and also {y}?",
    }),
    "all": ("property", IN_ORDER, {
        "question": (
            "Is everything {x} also {y}?|Does being {x} imply being {y}?|If something is {x}, must it be {y}?"
        ),
    }),
    "go": ("place", IN_ORDER, {
        "question": "How do I travel from {x} to {y}?|What is the way from {x} to {y}?|How to get to {y} from {x}?",
    }),
}

# Actions and their opposites.
OPPOSITE_ACTIONS = (
    ("open", "close"), ("install|set up", "uninstall"), ("upload", "download"), ("encrypt", "decrypt"),
    ("import", "export"), ("create|make", "delete|remove"), ("connect to", "disconnect from"),
    ("turn on|switch on|activate", "turn off|switch off|deactivate"), ("lock", "unlock"), ("hide", "show|display"),
    ("send", "receive"), ("compress|zip", "unzip|extract"), ("back up", "restore"), ("copy", "move"),
    ("share", "unshare|stop sharing"),
)
ACTION_HOW = (
    "How do I {v} {x}?|How can I {v} {x}?|What is the way to {v} {x}?|How to {v} {x}?|Show me how to {v} {x}|"
    "Steps to {v} {x}"
)
ACTION_AVOIDED = "How do I avoid having to {v} {x}?|How do I not {v} {x}?"
ACTION_FAILS = "Why can't I {v} {x}?|Why does it fail when I {v} {x}?"

# What some of a class do, and others do not.
CLASSES = (
    ("animals", (
        ("can fly", "can't fly"), ("lay eggs", "do not lay eggs"), ("eat meat", "do not eat meat"),
        ("live in water", "do not live in water"), ("have bones", "have no bones"),
    )),
    ("materials", (
        ("conduct electricity", "do not conduct electricity"), ("dissolve in water", "do not dissolve in water"),
        ("can burn", "cannot burn"),
    )),
    ("plants", (
        ("need sunlight", "do not need sunlight"), ("have flowers", "have no flowers"),
    )),
    ("numbers", (
        ("are divisible by 3", "are not divisible by 3"), ("have a square root", "do not have a square root"),
    )),
    ("students", (
        ("have to take the test", "don't have to take the test"), ("live on campus", "don't live on campus"),
    )),
)
WHICH_OF_CLASS = "Which {s} {v}?|What {s} {v}?|Name some {s} that {v}|What are some {s} that {v}?|List {s} that {v}"

# Things with a number in their name.
NUMBERED = (
    "the {n} law of thermodynamics|Kepler's {n} law|the {n} industrial revolution|{n} grade math|the {n} amendment|"
    "chapter {d}|unit {d}|the {n} crusade|lesson {d}"
)
NUMBERED_ASKED = (
    "What is {x} about?|What does {x} say?|Explain {x}|Tell me about {x}",
    "When should I study {x}?|When do we learn {x}?",
    "Give me a summary of {x}|Summarize {x}",
)
ORDINALS = "zeroth|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth"
SHORT_ORDINALS = "0th|1st|2nd|3rd|4th|5th|6th|7th|8th|9th|10th"
CARDINALS = "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"

# What changes nothing.
BEFORE = "Hi,|Please,|Hello!|Quick question:|Could you help me?|I have a question."
AFTER = "Thanks.|Thank you!|please|??"

# Sums: {a} and {b} may be written in words, {A} and {B} are digits, {C} two digits made of the first.
ARITHMETIC = {
    "sum": (
        "What is {a} plus {b}?|{A} + {B} = ?|Calculate {A}+{B}|What is the sum of {a} and {b}?|"
        "How much is {a} plus {b}?|Add {a} and {b}"
    ),
    "difference": (
        "What is {a} minus {b}?|{A} - {B} = ?|Calculate {A}-{B}|Subtract {b} from {a}|How much is {a} minus {b}?|"
        "What do you get when you take {b} away from {a}?"
    ),
    "product": (
        "What is {a} times {b}?|{A} * {B} = ?|Calculate {A}x{B}|What is the product of {a} and {b}?|"
        "Multiply {a} by {b}|How much is {a} multiplied by {b}?"
    ),
    "quotient": (
        "What is {a} divided by {b}?|{A} / {B} = ?|Calculate {A}/{B}|Divide {a} by {b}|"
        "How much is {a} divided by {b}?|What is the quotient of {a} and {b}?"
    ),
    "common_divisor": (
        "What is the greatest common divisor of {A} and {B}?|Find the GCD of {A} and {B}|gcd({A}, {B}) = ?|"
        "What is the highest common factor of {A} and {B}?"
    ),
    "common_multiple": (
        "What is the least common multiple of {A} and {B}?|Find the LCM of {A} and {B}|lcm({A}, {B}) = ?"
    ),
    "percentage": "What is {A}% of {B}?|What is {A} percent of {B}?|Find {A}% of {B}|How much is {A} percent of {B}?",
    "power": "What is {A} to the power of {B}?|{A}^{B} = ?|Calculate {A}^{B}|What is {A} raised to the {B}th power?",
    "larger": "Which is bigger, {A} or {B}?|Which number is larger: {A} or {B}?|Is {A} or {B} greater?",
    "logarithm": "What is log base {A} of {B}?|log_{A}({B}) = ?|Find the logarithm of {B} in base {A}",
    "square": "What is {a} squared?|{A}^2 = ?|What is the square of {a}?",
    "cube": "What is {a} cubed?|{A}^3 = ?|What is the cube of {a}?",
    "cube_root": "What is the cube root of {A}?|cbrt({A}) = ?|Find the cube root of {A}",
    "square_root": "What is the square root of {A}?|sqrt({A}) = ?|√{A} equals what?|Find the square root of {A}",
    "factorial": "What is {a} factorial?|{A}! = ?|What is the factorial of {a}?",
    "sine": "What is sin({A}°)?|What is the sine of {A} degrees?|sin {A} degrees = ?",
    "cosine": "What is cos({A}°)?|What is the cosine of {A} degrees?|cos {A} degrees = ?",
    "prime": "Is {A} a prime number?|Is {A} prime?|Is the number {A} a prime?",
    "even": "Is {A} an even number?|Is {A} even?",
    "circle_area": (
        "What is the area of a circle with radius {A}?|Find the area of a circle of radius {A}|"
        "A circle has radius {A}. What is its area?"
    ),
    "circumference": (
        "What is the circumference of a circle with radius {A}?|Find the circumference of a circle of radius {A}"
    ),
    "square_area": "What is the area of a square with side {A}?|Find the area of a square of side length {A}",
    "square_perimeter": (
        "What is the perimeter of a square with side {A}?|Find the perimeter of a square of side length {A}"
    ),
    "derivative": "What is the derivative of x^{A}?|Differentiate x^{A}|Find the derivative of x^{A}",
    "integral": "What is the integral of x^{A}?|Integrate x^{A}|Find the integral of x^{A}",
    "equation": "Solve {A}x + {B} = 0|What is the solution of {A}x+{B}=0?|How do I solve {A}x + {B} = 0?",
    "exam_plan": (
        "How do I prepare for an exam in {A} days?|My exam is in {A} days, how should I study?|"
        "How to study for a test that is {A} days away?"
    ),
    "essay_length": "Write a {A}0-word essay|Please write an essay of {A}0 words|I need an essay with {A}0 words",
    "year": "What happened in 19{C}?|What were the main events of 19{C}?|Which important events took place in 19{C}?",
    "apples_eaten": (
        "Tom has {A} apples and eats {B}. How many are left?|If Tom eats {B} of his {A} apples, how many remain?|"
        "Tom had {A} apples and ate {B}; how many does he have now?"
    ),
    "apples_bought": (
        "Tom has {A} apples and buys {B} more. How many does he have?|"
        "If Tom gets {B} more apples and had {A}, how many are there?|"
        "Tom had {A} apples and bought {B}; how many does he have in all?"
    ),
    "speed": (
        "A car goes {A} km in {B} hours. What is its speed?|"
        "What is the speed of a car that travels {A} km in {B} hours?|Find the speed: {A} km in {B} hours"
    ),
}

# Edits of a text after which it asks the same.
EDITS_SAME = (
    ("How do I", "How can I"), ("How do I", "How to"), ("How can I", "How do I"), ("What is", "What's"),
    ("What are the best", "Which are the best"), ("What are some", "What are a few"), ("Is it possible to", "Can I"),
    ("How can we", "How do we"), ("How do you", "How do I"), ("What is the best way to", "How can I best"),
    ("Why do", "What is the reason that"), ("don't", "do not"), ("can't", "cannot"), ("doesn't", "does not"),
    ("isn't", "is not"), ("become", "be"), ("lose weight", "reduce weight"), ("India's", "Indian"),
    ("Who is", "Who's"), ("movie", "film"), ("purchase", "buy"), ("buy", "purchase"),
)
# Edits of a text after which it asks something else.
EDITS_DIFFERENT = (
    ("How", "Why"), ("Why", "How"), ("When", "Where"), ("Where", "When"), ("Who", "When"), (" can ", " can't "),
    (" should ", " should not "), (" is ", " is not "), (" do ", " don't "), (" are ", " are not "), (" not ", " "),
    ("n't ", " "), (" without ", " with "), (" with ", " without "), (" has ", " has never "),
    (" will ", " will never "), ("Is ", "Was "), ("What are ", "What are not "), (" never ", " always "),
)
# Opposites: one word put for the other asks something else.
OPPOSITES = (
    ("increase", "decrease"), ("raise", "lower"), ("more", "less"), ("most", "least"), ("maximum", "minimum"),
    ("best", "worst"), ("good", "bad"), ("before", "after"), ("buy", "sell"), ("open", "close"),
    ("enable", "disable"), ("on", "off"), ("start", "stop"), ("begin", "end"), ("read", "write"), ("male", "female"),
    ("man", "woman"), ("men", "women"), ("boy", "girl"), ("boys", "girls"), ("his", "her"), ("husband", "wife"),
    ("gain", "lose"), ("win", "lose"), ("hot", "cold"), ("left", "right"), ("up", "down"), ("in", "out"),
    ("add", "subtract"), ("add", "remove"), ("multiply", "divide"), ("positive", "negative"),
    ("advantages", "disadvantages"), ("pros", "cons"), ("legal", "illegal"), ("love", "hate"), ("like", "dislike"),
    ("like", "hate"), ("easy", "hard"), ("fast", "slow"), ("long", "short"), ("big", "small"), ("high", "low"),
    ("new", "old"), ("first", "last"), ("upload", "download"), ("install", "uninstall"), ("import", "export"),
    ("input", "output"), ("encrypt", "decrypt"), ("boil", "freeze"), ("melt", "freeze"), ("accept", "reject"),
    ("create", "delete"), ("import", "export"), ("cause", "effect"), ("causes", "effects"), ("spring", "autumn"),
    ("summer", "winter"), ("north", "south"), ("east", "west"), ("day", "night"), ("past", "future"),
    ("singular", "plural"), ("active", "passive"), ("theirs", "ours"), ("grow", "shrink"), ("safe", "dangerous"),
    ("true", "false"), ("even", "odd"),
)

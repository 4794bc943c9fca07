//! The word lists: entries between `|`, the words of one group between `/`, `variant=word` in lists of pairs.

use crate::cache::text::phrases;

/// The pairs of a list.
pub(super) fn pairs(list: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    phrases(list).filter_map(|pair| pair.split_once('='))
}

/// Chinese ways to write the same word, and ways to ask that add nothing.
pub(super) const VARIANTS: &str = "\
    don't understand=am confused by | do not understand=am confused by | 可以帮我= | 能帮我= | 帮我= | 请帮= | 请问= | 请告诉我= | 告诉我= | 谁知道= | 有谁知道= | 关于= | 一下= | 麻烦= | \
    怎样才能=怎么 | 怎么样才能=怎么 | 如何才能=怎么 | 怎么才能=怎么 | 怎么样=怎么 | 怎样=怎么 | 如何=怎么 | 咋=怎么 | 怎么去=怎么 | \
    哪儿=哪里 | 啥=什么 | 有那些=有哪些 | 什么时间=什么时候 | 何时=什么时候 | 为何=为什么 | 英文=英语 | 汉语=中文 | 英译=翻译成英语 | 一战=第一次世界大战 | 二战=第二次世界大战 | \
    大家= | 求助= | 急求= | 谢谢= | 您好= | 你好= | 们= | 我= | 你= | 您=";

/// Words with a numeral that count nothing.
pub(super) const NUMBER_IDIOMS: &str = "\
    三角 | 四川 | 百度 | 百科 | 千万别 | 千万不 | 万能 | 万一 | 十分 | 百分之 | 七夕 | 八卦 | 九寨 | 九江 | 万里长城 | 三国 | 三星 | \
    三亚 | 三峡 | 五官 | 五行 | 八戒 | 两个 | 两种 | 两者 | 两类 | 两位 | 两边 | 两端 | 两侧 | 四肢 | 五谷 | 四季 | 万圣 | 千克 | 千米 | 千瓦 | 百合 | \
    百货 | 百姓 | 三明治 | 不三不四 | 乱七八糟 | 万达 | 万科 | 两性 | 四周 | 百分 | 五金 | 六合 | 七喜 | 三文鱼 | 九寨沟 | 千里 | \
    千古 | 一二";

/// English numbers.
pub(super) const NUMBERS_EN: &str = "\
    two=2 | three=3 | four=4 | five=5 | six=6 | seven=7 | eight=8 | nine=9 | ten=10 | eleven=11 | twelve=12 | thirteen=13 | \
    fourteen=14 | fifteen=15 | sixteen=16 | seventeen=17 | eighteen=18 | nineteen=19 | twenty=20 | thirty=30 | forty=40 | \
    fifty=50 | sixty=60 | seventy=70 | eighty=80 | ninety=90 | hundred=100 | thousand=1000 | million=1000000 | \
    billion=1000000000 | first=1 | second=2 | third=3 | fourth=4 | fifth=5 | sixth=6 | seventh=7 | eighth=8 | ninth=9 | tenth=10 | \
    1st=1 | 2nd=2 | 3rd=3 | ii=2 | iii=3 | iv=4 | vi=6 | vii=7 | viii=8 | ix=9";

/// Signs of arithmetic in words, longer ones first.
pub(super) const OPERATORS: &str = "\
    百分之= | 分之=/ | 加上=+ | 减去=- | 乘以=* | 乘上=* | 除以=/ | 加=+ | 减=- | 乘=* | plus=+ | minus=- | multiplied by=* | times=* | \
    divided by=/";

/// Units.
pub(super) const UNITS: &str = "\
    km/kilometer/kilometers/kilometre/kilometres/kms/公里/千米 | mile/miles/英里 | meter/meters/metre/metres | 米 | \
    centimeter/centimeters/centimetre/centimetres/cm/厘米 | millimeter/millimeters/mm/毫米 | foot/feet/ft/英尺 | inch/inches/英寸 | \
    yard/yards | kilogram/kilograms/kg/kgs/公斤/千克 | gram/grams | pound/pounds/lb/lbs/磅 | ounce/ounces/oz/盎司 | ton/tons/tonne/tonnes/吨 | \
    斤 | liter/liters/litre/litres/升 | milliliter/ml/毫升 | gallon/gallons/加仑 | celsius/摄氏 | fahrenheit/华氏 | kelvin | \
    seconds | minute/minutes/分钟 | hour/hours/小时 | day/days | week/weeks/星期 | month/months/个月 | dollar/dollars/usd/美元 | \
    euro/euros/欧元 | rupee/rupees/inr | yuan/rmb/人民币 | yen/日元 | gb/gigabyte | mb/megabyte | tb/terabyte | joule/joules/焦耳 | \
    watt/watts/瓦特 | volt/volts/伏特 | ampere/amperes/安培 | newtons | radian/radians/弧度 | degrees/角度 | bits/比特 | bytes/字节 | \
    hectare/hectares/公顷 | acre/acres/亩";

/// Units that are said too loosely to tell questions apart.
pub(super) const UNITS_VAGUE: &str = "米 | 斤 | 升 | day";

/// Words with 不, 没, 无, 非, 未 or 别 that deny nothing.
pub(super) const NEGATION_IDIOMS_ZH: &str = "\
    不过 | 不仅 | 不但 | 不管 | 不论 | 不同 | 不错 | 不好意思 | 无线 | 无锡 | 无限 | 无穷 | 非洲 | 非常 | 非典 | 特别 | 别人 | 区别 | 级别 | \
    性别 | 别墅 | 告别 | 分别 | 类别 | 识别 | 差别 | 个别 | 鉴别 | 辨别 | 别的 | 未来 | 没事 | 不等式 | 不定式 | 不定积分 | 不锈钢 | 不倒翁 | \
    可不可以 | 要不要 | 是不是 | 有没有 | 没有办法 | 不得不 | 无论 | 无聊 | 别名 | 别克 | 离别 | 送别 | 是否 | 不规则 | 非金属 | 无机 | 差不多 | \
    不知道 | 不懂 | 不明白 | 想不想 | 无双 | 没收 | 浸没 | 沉没 | 淹没 | 埋没 | 喜不喜欢 | 知不知道 | 不断 | 不久 | 不禁 | 感激不尽 | 不客气 | 不是的 | 有没 | 不用谢 | 不要着急 | 没关系 | 不尽 | 对不起 | 了不起 | 不知";

/// English words that deny.
pub(super) const NEGATIONS_EN: &str = "not | no | never | without | none | nothing | neither | nor | cannot | except | cant | dont | doesnt | isnt | wont | unable | nobody";

/// Phrases that deny nothing.
pub(super) const NEGATION_IDIOMS_EN: &str = "\
    or not | not only | no matter | why don't you | i don't know | if not | no 1 | \
    no one | does not matter | cannot help | no . | why not | not to mention | yes or no | yes no | nothing but";

/// Opposites.
pub(super) const ANTONYMS: &str = "\
    read/write | spoken/written | speaking/writing | speak/write | past/future | maximum/minimum | max/min | maximize/minimize | \
    increase/decrease | increase/reduce | gain/lose | before/after | prior to/after | buy/sell | import/export | ancient/modern | positive/negative | open/close | \
    start/stop | begin/end | break out/end | broke out/ended | break out/over | keep/throw away | keep/discard | enable/disable | turn on/turn off | turn on/disable | turn off/enable | boil/freeze | boiling/freezing | melt/freeze | \
    melting/freezing | heat/cool | hot/cold | expand/contract | add/remove | add/subtract | multiply/divide | encrypt/decrypt | encode/decode | \
    upload/download | install/uninstall | lock/unlock | push/pull | win/lose | rise/fall | sunrise/sunset | acid/base | acidic/basic | oxidation/reduction | \
    anode/cathode | endothermic/exothermic | evaporation/condensation | concave/convex | odd/even | rational/irrational | real/imaginary | \
    cause/effect | causes/effects | advantage/disadvantage | advantages/disadvantages | pros/cons | benefit/risk | strength/weakness | \
    male/female | man/woman | men/women | boy/girl | boys/girls | husband/wife | girlfriend/boyfriend | mother/father | north/south | east/west | \
    left/right | top/bottom | inside/outside | internal/external | input/output | host/guest | offer/demand | supply/demand | singular/plural | \
    active/passive | synonym/antonym | synonyms/antonyms | formal/informal | direct/indirect | ascending/descending | earliest/latest | oldest/newest | \
    oldest/youngest | largest/smallest | biggest/smallest | highest/lowest | longest/shortest | fastest/slowest | best/worst | most/least | \
    good/bad | high/low | long/short | strong/weak | hard/soft | hard/easy | difficult/easy | rich/poor | love/hate | like/hate | like/dislike | \
    similar/different | differ/similar | similarity/difference | similarities/differences | accept/reject | pass/fail | allow/forbid | legal/illegal | \
    public/private | morning/evening | summer/winter | day/night | old/new | always/never | borrow/lend | teach/learn | question/answer | \
    vertical/horizontal | parallel/perpendicular | parallel/series | plant/animal | understand/confused | understand/confusing | arrive/leave | \
    inhale/exhale | attack/defend | introduce/conclude | gain weight/lose weight | introvert/extrovert | introverts/extroverts | liberal/conservative | \
    wet/dry | create/delete | create/destroy | insert/delete | encrypt/decipher | compress/decompress | serialize/deserialize | numerator/denominator | \
    domain/range | theory/practice | undergraduate/graduate | heavier/lighter | taller/shorter | bigger/smaller | more/less | more/fewer | older/younger";

/// Opposites in Chinese.
pub(super) const ANTONYMS_ZH: &str = "\
    读取/写入 | 读/写入 | 读文件/写文件 | 口语/写作 | 口语/书面 | 听力/写作 | 阅读/写作 | 过去/将来 | 过去/未来 | 最大/最小 | 最高/最低 | 最多/最少 | 最长/最短 | \
    最快/最慢 | 最好/最差 | 最早/最晚 | 最早/最新 | 增加/减少 | 增大/减小 | 上升/下降 | 提高/降低 | 升高/降低 | 之前/之后 | 以前/以后 | 前/后 | 饭前/饭后 | 买/卖 | 进口/出口 | \
    古代/现代 | 正数/负数 | 打开/关闭 | 开启/关闭 | 启用/禁用 | 开始/结束 | 沸腾/结冰 | 沸点/熔点 | 沸点/凝固点 | 沸点/冰点 | 熔化/凝固 | 蒸发/凝结 | 汽化/液化 | 吸热/放热 | 膨胀/收缩 | \
    加法/减法 | 乘法/除法 | 加/减 | 乘/除 | 加密/解密 | 编码/解码 | 上传/下载 | 安装/卸载 | 锁定/解锁 | 添加/删除 | 插入/删除 | 创建/删除 | 优点/缺点 | 好处/坏处 | 利/弊 | 原因/结果 | 原因/影响 | \
    酸/碱 | 氧化/还原 | 阳极/阴极 | 正极/负极 | 凹/凸 | 奇数/偶数 | 奇函数/偶函数 | 质数/合数 | 有理/无理 | 实数/虚数 | 男/女 | 公/母 | 父亲/母亲 | 爸爸/妈妈 | 丈夫/妻子 | 老公/老婆 | \
    上/下 | 左/右 | 内/外 | 里面/外面 | 输入/输出 | 供给/需求 | 单数/复数 | 主动/被动 | 同义词/反义词 | 近义词/反义词 | 直接/间接 | 升序/降序 | 相同/不同 | 相似/区别 | 共同点/区别 | 共同点/不同点 | 接受/拒绝 | \
    允许/禁止 | 合法/违法 | 公开/私有 | 早上/晚上 | 白天/晚上 | 夏天/冬天 | 借入/借出 | 横向/纵向 | 水平/垂直 | 平行/垂直 | 串联/并联 | 植物/动物 | 有丝分裂/减数分裂 | 动脉/静脉 | 增肥/减肥 | 增重/减肥 | \
    长高/变矮 | 变大/变小 | 大写/小写 | 递增/递减 | 收入/支出 | 充值/提现 | 存钱/取钱 | 存款/取款 | 借款/还款 | 分子/分母 | 国内/国外 | 南方/北方 | 北半球/南半球 | 吸气/呼气 | 胜/负 | 攻击/防御 | \
    从大到小/从小到大 | 从大到小/由小到大 | 由大到小/从小到大 | 由大到小/由小到大 | 降序/从小到大 | 降序/由小到大 | \
    升序/从大到小 | 升序/由大到小 | 平方根/立方根 | 根号/立方根 | 绑定/解绑 | 开通/取消 | 开通/关闭 | 提前/推迟 | 成功/失败 | 收缩/扩张 | 导入/导出 | 注册/注销 | 登录/退出";

/// Members of one class.
pub(super) const SIBLINGS: &str = "\
    春天/夏天/秋天/冬天 | 春季/夏季/秋季/冬季 | spring/summer/autumn/winter | 口语/写作/听力/阅读 | 小学/初中/高中/大学 | \
    过去式/将来时/现在时/完成时/进行时 | 过去时/将来时/现在时/完成时/进行时 | 现在完成/过去完成/将来完成 | 现在进行/过去进行/将来进行 | 导数/积分/极限/微分 | 点积/叉积 | 点乘/叉乘 | 点积/叉乘 | 正弦/余弦/正切 | sin/cos/tan | \
    光合作用/呼吸作用 | photosynthesis/respiration | 电流/电压/电阻/电功率/电荷 | current/voltage/resistance/power | \
    数学/语文/英语/物理/化学/生物/历史/地理/政治 | math/physics/chemistry/biology/history/geography/economics | maths/physics/chemistry/biology | \
    英语/法语/日语/德语/韩语/俄语/西班牙语/中文 | english/french/german/spanish/chinese/japanese/korean/russian/hindi/arabic/italian/latin | \
    python/java/javascript/c++/c#/rust/ruby/php/swift/kotlin/golang/c | tcp/udp/http/https | mysql/postgresql/mongodb/sqlite | html/css/sql/xml/json | \
    windows/linux/android/ios/macos/mac | mercury/venus/earth/mars/jupiter/saturn/uranus/neptune/pluto/moon/sun | \
    水星/金星/地球/火星/木星/土星/天王星/海王星/月球/太阳 | 加法/减法/乘法/除法 | 加/减/乘/除 | addition/subtraction/multiplication/division | \
    sum/difference/product/quotient | mean/median/mode | 平均数/中位数/众数 | 氢/氧/氮/碳 | hydrogen/oxygen/nitrogen/carbon/helium | sodium/potassium/calcium/iron | \
    钠/钾/钙/铁 | dna/rna | noun/verb/adjective/adverb/pronoun | 名词/动词/形容词/副词/代词 | 亚洲/欧洲/非洲/北美洲/南美洲/大洋洲 | \
    asia/europe/africa/america/australia/antarctica | 中国/美国/英国/法国/德国/日本/韩国/俄罗斯/印度 | \
    china/uk/france/germany/japan/korea/russia/india/canada/australia/pakistan/england | 唐朝/宋朝/元朝/明朝/清朝/汉朝/秦朝/隋朝 | 圆/正方形/长方形/三角形/梯形 | \
    circle/square/rectangle/triangle/trapezoid/sphere/cube/cone/cylinder | 面积/体积/周长/表面积 | area/volume/perimeter/circumference | \
    速度/加速度/位移/质量/重量 | velocity/acceleration/mass/weight/momentum | monday/tuesday/wednesday/thursday/friday/saturday/sunday | \
    january/february/march/april/june/july/august/september/october/november/december | 星期一/星期二/星期三/星期四/星期五/星期六/星期日 | \
    red/blue/green/yellow/black/white/purple/orange | 红色/蓝色/绿色/黄色/黑色/白色/紫色 | 线性/二次/指数/对数 | linear/quadratic/cubic/exponential/logarithmic | \
    american/british/russian/roman/greek/egyptian | decimal/significant | mitosis/meiosis | 有丝分裂/减数分裂 | facebook/twitter/instagram/whatsapp/snapchat/linkedin/youtube/quora | 微信/qq/微博/支付宝/淘宝 | \
    姐姐/妹妹/哥哥/弟弟 | 狗/猫/鸟/鱼 | dog/cat/bird/fish | liquid/solid/gas | 液体/固体/气体 | prefix/suffix | 前缀/后缀 | \
    heart/lung/liver/kidney/brain/stomach | 心脏/肺/肝脏/肾脏/胃 | atom/molecule/ion | 原子/分子/离子 | proton/neutron/electron | 质子/中子/电子 | gre/gmat/sat/toefl/ielts/cat | \
    托福/雅思 | bachelor/master/phd | 本科/硕士/博士";

/// Capitalised words that name nothing.
pub(super) const NO_NAMES: &str = "\
    i | i'm | i've | i'd | i'll | a | the | is | are | do | does | did | what | why | how | when | where | who | which | can | could | \
    should | would | will | if | in | on | of | to | and | or | my | your | ok | vs | mr | mrs | ms | dr | please | app | im | am | pm | it | you";

/// Words that say little where two sentences differ.
pub(super) const SAYS_LITTLE: &str = "\
    a | an | the | some | any | is | are | was | were | be | been | do | does | did | can | could | would | should | will | i | you | we | one | \
    my | your | our | me | us | of | in | on | at | to | for | with | by | from | about | that | there | it | get | got | good | best | great | \
    most | more | very | really | really | way | thing | people | someone | person | so | just | also | ever | actually | possible | have | had | \
    has | his | her | their | they | he | she | and | or | as | than | into | up | out | what | which | how | why | when | where | who | make | need | 有 | 在 | 会 | 能 | \
    可 | 以 | 要 | 想 | 把 | 就 | 都 | 也 | 很 | 最 | 更 | 个 | 种 | 些 | 这 | 那 | 什 | 怎 | 哪 | 谁 | 人 | 得 | 地 | 着 | 过 | 去 | 来 | 做 | 给 | 和 | 与 | 好 | 求 | 吃 | 用 | 看 | 到 | 说 | 办 | 里 | 找";

/// Left out before sentences are laid beside each other.
pub(super) const ARTICLES: &str = "a | an | the | please";

/// Words that may stand for each other.
pub(super) const SYNONYMS: &str = "\
    wrote=author | wrote=write | learn=study | increase=improve | improve=develop | quick=fast | buy=purchase | start=begin | mobile=phone | job=work | film=movie | kid=child | \
    method=way | money=cash | remove=delete | fix=solve | fix=repair | happen=occur | big=large | reason=cause | effect=impact | tip=advice | 举办=举行 | 面积=领土 | \
    制作=做 | 制=做 | 提高=提升 | 方法=办法 | 图片=照片 | 手机=电话 | 下载=下 | 获得=得 | 获=得 | 增加=提高 | 改善=提高 | 治疗=治 | 漂亮=好看 | 号码=号 | 歌=歌曲 | 电影=片 | 危害=坏处 | 作用=功效 | 功效=作用 | \
    功能=作用 | 价=价格 | 知=晓";

/// No things that could change places.
pub(super) const NO_THINGS: &str = "\
    a | an | the | is | are | was | were | be | been | do | does | does | did | can | could | would | should | will | i | you | we | he | she | it | they | one | my | your | \
    our | me | us | of | in | on | at | to | for | with | by | from | about | that | this | there | what | which | how | why | when | where | who | \
    and | or | but | not | if | as | than | into | up | out | good | best | some | any | have | has | had | get | need | make | way | so | more | most | people | \
    long | take | taking | much | many | mean | use | used | word | differ | difference | explain | just | like | now | without | after | before | over | find | work | know | year | time";

/// Between them order means nothing.
pub(super) const SYMMETRIC: &str = "and | or | vs | versus | & | , | between | . | ? | ; | either | both | nor | same | with | relationship | relation | related | similar | compare | compared | met | meet | marry | married | differ | difference | different";

/// Words with a direction.
pub(super) const DIRECTIONS: &str = "to | into | than | but | not | without | over | of | by | from | after | before | per | divided | minus | against";

/// The same in Chinese; markers of one group are one.
pub(super) const DIRECTIONS_ZH: &str = "\
    但不/却不/而不/可不 | 但/却 | 到/至 | 翻译成/译成/翻译为/译为 | 转换成/转换为/转成/转为/转化为/换算成/换算为/换成/换为/改写成/写成/变成/变为/化成/化为/转 | 比 | 属于 | 大于/小于 | 喜欢/爱 | 打败/战胜 | 绕 | \
    除以/除 | 减去/减 | 送给/给 | 被 | 包含/包括 | 导致/引起/造成 | 影响 | 决定 | 吃 | 是 | 向 | 对";

/// What may be asked about a thing.
pub(super) const ASPECTS: &str = "\
    why/what makes/how come/reason/reasons/cause/causes/what caused/为什么/原因/为啥/怎么回事/怎么这么/怎么那么/怎么又/怎么老 | \
    how to/how do i/how do you/how do we/how can/how should/how could/how would/way/ways/method/methods/steps/tips/process/procedure/technique/techniques/guide/what should i do/what can i do/what do i do/how will i/how i/how does one/怎么/方法/办法/技巧/步骤/攻略 | \
    when did/when was/when will/when were/what year/what date/which year/what time/什么时候/哪年/哪一年/几号/几点/几月 | \
    where/哪里/什么地方/在哪/哪个地方/位置/地址 | who/whom/whose/author/谁/哪位/什么人/作者 | \
    how many/how much/多少/几个/几种/几次/人数/数量 | how long/period/多久/多长时间/how old | \
    difference/differences/differ/vs/versus/compare/comparison/区别/不同/差异/差别/比较/distinguish | relation/relationship/related/relate/关系/联系 | \
    example/examples/instance/instances/例子/举例/例题 | history/origin/invented/历史/由来/来历/起源/来源/典故 | formula/equation/公式/方程式 | \
    advantage/advantages/benefit/benefits/pros/好处/优点/优势 | disadvantage/disadvantages/drawback/drawbacks/cons/坏处/缺点/危害/弊端 | \
    use of/uses/used for/application/applications/purpose/的作用/什么作用/用途/用处/功效/功能/什么用 | symptom/symptoms/症状/表现/特征 | price/cost/salary/价格/多少钱/工资 | \
    下一句/下句/后一句/后面一句/后面是什么 | 上一句/上句/前一句";

/// What may be asked where nothing of [`ASPECTS`] is.
pub(super) const ASPECTS_GENERAL: &str = "what/which/什么/哪些/哪个/哪种/explain/describe/meaning/mean/definition/意思/含义/定义/解释/name/名字";

/// Forms of an answer.
pub(super) const FORMS: &str = "\
    essay/作文 | poem/poetry/诗歌/一首诗 | in a table/表格 | as a list/in a list/bullet points/列表/清单 | \
    in short/briefly/short answer/简短/简要/简单地 | in detail/detailed explanation/详细/具体地 | in one sentence/one word/一句话 | \
    step by step/一步一步/分步 | write a letter/write an email/书信/写信 | a speech/演讲稿/发言稿 | a story/故事 | \
    summary/summarize/summarise/总结/概括 | write code/write a program/代码 | translate/翻译";

/// Languages that an answer may be wanted in.
pub(super) const LANGUAGES: &str = "\
    in english/into english/to english/用英语回答/用英语写/用英语说/用英语解释/用英语介绍/译成英语/成英语 | in chinese/into chinese/to chinese/in mandarin/用中文回答/用中文写/用中文说/用中文解释/用中文介绍/译成中文/成中文 | in french/into french/to french/用法语回答/用法语写/用法语说/用法语解释/用法语介绍/成法语 | \
    in spanish/into spanish/to spanish/用西班牙语回答/用西班牙语写/用西班牙语说/用西班牙语解释/用西班牙语介绍/成西班牙语 | in german/into german/to german/用德语回答/用德语写/用德语说/用德语解释/用德语介绍/成德语 | in japanese/into japanese/to japanese/用日语回答/用日语写/用日语说/用日语解释/用日语介绍/成日语 | \
    in korean/into korean/to korean/用韩语回答/用韩语写/用韩语说/用韩语解释/用韩语介绍/成韩语 | in hindi/into hindi/to hindi | in arabic/to arabic | in russian/用俄语回答/用俄语写/用俄语说/用俄语解释/用俄语介绍/成俄语 | 粤语 | 文言文 | 繁体 | 拼音";

/// Names of one place or thing.
pub(super) const NAME_SYNONYMS: &str = "\
    us=usa | us=america | us=american | us=states | us=u.s | usa=america | usa=american | usa=states | uk=england | uk=britain | uk=british | \
    english=england | france=french | china=chinese | japan=japanese | spain=spanish | germany=german | islamic=muslim | pc=computer | \
    ai=intelligence | ml=learning | js=javascript | golang=go | postgres=postgresql | k8s=kubernetes | sun=solar | moon=lunar";

/// Words that may stand at the beginning, in the middle or at the end of the same question.
pub(super) const MOVABLE_ZH: &str = "\
    为什么 | 怎么样 | 怎么 | 怎样 | 如何 | 什么 | 请问 | 请 | 呢 | 吗 | 啊 | 呀 | 的 | 是 | 会 | 了";

/// The same in English.
pub(super) const MOVABLE_EN: &str = "\
    a | an | the | how | why | what | what's | when | where | is | are | was | were | do | does | did | can | could | \
    i | you | we | please | to | of | in | on | for";

/// What joins two things that may change places, as it stands between them.
pub(super) const JOINING: &str = "和|与|跟|及|或|、| and | or | vs | versus | with |,";

/// What denies what comes after it.
pub(super) const DENIED_EN: &str = " non-| not | without ";

/// What gives a direction to what stands around it.
pub(super) const DIRECTED: &str = "把|将|被|从|比|到|给|化成|化为|换成|换为|写成|换算|转成|转换|变成|翻译|导致|影响|喜欢| to | into | from | than | by ";

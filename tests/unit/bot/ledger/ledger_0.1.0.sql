-- The ledger of `shoal demo` as shoal 0.1.0 (commit 56b2a3d) wrote it, before ledgers had a schema version.
-- Shortened: the two releases with their recipes and gate results, a few candidates, generations and item scores.
BEGIN TRANSACTION;
CREATE TABLE candidates (
	cycle VARCHAR NOT NULL, 
	repo VARCHAR NOT NULL, 
	sha VARCHAR, 
	accepted BOOLEAN NOT NULL, 
	reason VARCHAR NOT NULL, 
	PRIMARY KEY (cycle, repo), 
	FOREIGN KEY(cycle) REFERENCES cycles (id)
);
INSERT INTO "candidates" VALUES('demo-1','abacus-works/minnow-math','ef47366268c7d963865cc68fea094c056f059a7b',1,'of the family of tidepool/minnow-base, 161,840 parameters, mit');
INSERT INTO "candidates" VALUES('demo-1','kotoba-lab/minnow-kotoba','dbb15b545be90239b8b3c1f30a9828a0149de3a4',1,'of the family of tidepool/minnow-base, 161,840 parameters, apache-2.0');
INSERT INTO "candidates" VALUES('demo-1','overcooked/minnow-math-hot','66e58b974fd5637b004e05ddda851c34b334ff48',0,'damaged: model.safetensors: tensor lm_head.weight holds NaN or infinite values');
INSERT INTO "candidates" VALUES('demo-1','tidepool/minnow-base','b555d50eace88e24934227fc45fa5043376ef57e',0,'it is the base of the others');
CREATE TABLE cycles (
	id VARCHAR NOT NULL, 
	watchlist VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	digest VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	note VARCHAR NOT NULL, 
	started VARCHAR NOT NULL, 
	finished VARCHAR, 
	PRIMARY KEY (id)
);
INSERT INTO "cycles" VALUES('demo-1','demo',1,'8e568146f3ebd4cb433d9800772df7f6ca832def19a99b8331eb54c6853ad534','published','2 releases published: shoal-demo/demo-balanced, shoal-demo/demo-best-language','2026-11-26T14:09:33.212533+00:00','2026-11-26T14:11:04.017039+00:00');
CREATE TABLE evaluations (
	recipe VARCHAR NOT NULL, 
	exam VARCHAR NOT NULL, 
	seconds DOUBLE NOT NULL, 
	failure VARCHAR, 
	transient BOOLEAN NOT NULL, 
	PRIMARY KEY (recipe, exam), 
	FOREIGN KEY(recipe) REFERENCES recipes (digest)
);
INSERT INTO "evaluations" VALUES('8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','27422b4d25e7e426c8839a1c567b7853b799eec76b300158d46d081149374cd5',1.08825069999909374018e-02,NULL,0);
INSERT INTO "evaluations" VALUES('8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','31cb1d89f984e00c7fd3399659d6a3d21ebc1a7f598ee46fc730bd7740dc6a66',1.41975690000037957361e-02,NULL,0);
INSERT INTO "evaluations" VALUES('8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','5cea327275958cdf72346b15fa233a69553713d95f91227057d4d917f42d7cb1',3.07349665000060667807e-02,NULL,0);
INSERT INTO "evaluations" VALUES('8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','68f2f10fe596f7738a8888f415266c3f6d02e16143b9ae0e5fc2017a19a36649',0.0375516624999932,NULL,0);
INSERT INTO "evaluations" VALUES('8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','7ca75c0285b196f42b8086f2bcca85c6af24038c391af9f1911dae6fb46bd1ee',1.81893405000153052242e-02,NULL,0);
INSERT INTO "evaluations" VALUES('8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','f1b4b0aff0fdb4a3ea989aa15fcf89eb151d9b0e9e889f71c53e3a0487191a3b',1.52752855500011719414e-01,NULL,0);
INSERT INTO "evaluations" VALUES('8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','fcf785d795bd4edfdb54d330c43423a244767fd666b79eef50719392096ee3d5',2.10695537499987040064e-01,NULL,0);
INSERT INTO "evaluations" VALUES('ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','27422b4d25e7e426c8839a1c567b7853b799eec76b300158d46d081149374cd5',2.49453860000130589469e-02,NULL,0);
INSERT INTO "evaluations" VALUES('ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','31cb1d89f984e00c7fd3399659d6a3d21ebc1a7f598ee46fc730bd7740dc6a66',1.05154470000172750587e-02,NULL,0);
INSERT INTO "evaluations" VALUES('ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','5cea327275958cdf72346b15fa233a69553713d95f91227057d4d917f42d7cb1',1.90300140000090323155e-02,NULL,0);
INSERT INTO "evaluations" VALUES('ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','68f2f10fe596f7738a8888f415266c3f6d02e16143b9ae0e5fc2017a19a36649',3.99069045000146616075e-02,NULL,0);
INSERT INTO "evaluations" VALUES('ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','7ca75c0285b196f42b8086f2bcca85c6af24038c391af9f1911dae6fb46bd1ee',2.53258234999975684331e-02,NULL,0);
INSERT INTO "evaluations" VALUES('ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','f1b4b0aff0fdb4a3ea989aa15fcf89eb151d9b0e9e889f71c53e3a0487191a3b',1.31477563499998950646e-01,NULL,0);
INSERT INTO "evaluations" VALUES('ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','fcf785d795bd4edfdb54d330c43423a244767fd666b79eef50719392096ee3d5',2.57999599500010390329e-01,NULL,0);
CREATE TABLE fronts (
	cycle VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	recipe VARCHAR NOT NULL, 
	objectives VARCHAR NOT NULL, 
	PRIMARY KEY (cycle, generation, recipe), 
	FOREIGN KEY(cycle) REFERENCES cycles (id), 
	FOREIGN KEY(recipe) REFERENCES recipes (digest)
);
INSERT INTO "fronts" VALUES('demo-1',48,'8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','[0.99, 0.985, 0.91]');
INSERT INTO "fronts" VALUES('demo-1',48,'ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','[0.985, 0.995, 0.87]');
INSERT INTO "fronts" VALUES('demo-1',49,'8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','[0.99, 0.985, 0.91]');
INSERT INTO "fronts" VALUES('demo-1',49,'ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','[0.985, 0.995, 0.87]');
CREATE TABLE item_scores (
	recipe VARCHAR NOT NULL, 
	task VARCHAR NOT NULL, 
	item VARCHAR NOT NULL, 
	value DOUBLE NOT NULL, 
	flag VARCHAR, 
	PRIMARY KEY (recipe, task, item), 
	FOREIGN KEY(recipe) REFERENCES recipes (digest)
)
 WITHOUT ROWID

;
INSERT INTO "item_scores" VALUES('8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','4cef92d6ef9ab24c8aede48b4387ffcbad126b22890d480ae4e987c2ec785fa2','0047b72d4edd2a29',1.0,NULL);
INSERT INTO "item_scores" VALUES('8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','4cef92d6ef9ab24c8aede48b4387ffcbad126b22890d480ae4e987c2ec785fa2','00ca3be7fdf08d2d',1.0,NULL);
INSERT INTO "item_scores" VALUES('ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','4cef92d6ef9ab24c8aede48b4387ffcbad126b22890d480ae4e987c2ec785fa2','0047b72d4edd2a29',1.0,NULL);
INSERT INTO "item_scores" VALUES('ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','4cef92d6ef9ab24c8aede48b4387ffcbad126b22890d480ae4e987c2ec785fa2','00ca3be7fdf08d2d',1.0,NULL);
CREATE TABLE recipes (
	digest VARCHAR NOT NULL, 
	recipe VARCHAR NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "recipes" VALUES('8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','{"base": {"repo": "tidepool/minnow-base", "sha": "b555d50eace88e24934227fc45fa5043376ef57e"}, "dtype": "float32", "groups": {"attention": ["self_attn", "attn", "attention", "self_attention"], "bands": [[0, 1], [1, 2]], "ends_apart": true, "layers": 2, "modules_apart": true}, "method": "task_arithmetic", "parameters": {"weight": [[0.15, 0.5, 0.1, 0.45, 0.45, 0.3], [0.2, 0.2, 0.7, 0.2, 0.5, 0.8]]}, "seed": 0, "sources": [{"repo": "abacus-works/minnow-math", "sha": "ef47366268c7d963865cc68fea094c056f059a7b"}, {"repo": "kotoba-lab/minnow-kotoba", "sha": "dbb15b545be90239b8b3c1f30a9828a0149de3a4"}]}');
INSERT INTO "recipes" VALUES('ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','{"base": {"repo": "tidepool/minnow-base", "sha": "b555d50eace88e24934227fc45fa5043376ef57e"}, "dtype": "float32", "groups": {"attention": ["self_attn", "attn", "attention", "self_attention"], "bands": [[0, 1], [1, 2]], "ends_apart": true, "layers": 2, "modules_apart": true}, "method": "task_arithmetic", "parameters": {"weight": [[0.3, 0.5, 0.0, 0.45, 0.2, 0.3], [0.45, 0.3, 0.5, 0.15, 0.5, 0.65]]}, "seed": 0, "sources": [{"repo": "abacus-works/minnow-math", "sha": "ef47366268c7d963865cc68fea094c056f059a7b"}, {"repo": "kotoba-lab/minnow-kotoba", "sha": "dbb15b545be90239b8b3c1f30a9828a0149de3a4"}]}');
CREATE TABLE releases (
	cycle VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	recipe VARCHAR NOT NULL, 
	repo VARCHAR NOT NULL, 
	files VARCHAR NOT NULL, 
	"commit" VARCHAR, 
	published VARCHAR, 
	PRIMARY KEY (cycle, role), 
	FOREIGN KEY(cycle) REFERENCES cycles (id), 
	FOREIGN KEY(recipe) REFERENCES recipes (digest)
);
INSERT INTO "releases" VALUES('demo-1','balanced','8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59','shoal-demo/demo-balanced','{"README.md": "f0f9987a9c555b73c7ac778bd3b3f0e7c3855e07a46bc6145b5dd578595d1583", "config.json": "45edf6b8c055e94ce5bc5b27f5e9c2201f077011112699e80db76fc8827aa85a", "generation_config.json": "3a9a3bcef10c3a0e7c0171609111610f0e28f35c98726b25fa078df6a6c08c00", "mergekit_config.yml": "8caeaeaffda29229fca3ac6409cc60862d2cacef1e9bb35843b6872818309f28", "model.safetensors": "b10a19098638becfb2994297289dbe0784e54313fb9f43a0cd43abf6a5e46de1", "pareto.png": "79698c43c44910674b5222fd3dc165c0d5d6b5e9e51b1d50795192a7aebc26d4", "progress.png": "95f619695e51be13a6ca8bdc0ceddb3d84dfdcf3c3952c3c1ff8d2bfde5d7782", "shoal.json": "73c1d9be692dd989b053a7288c5e8e85d750b30a02e28a287394f886b9c6e684", "tokenizer.json": "a5c9277af0d4f75967fb67335483332582a8212be8396dd5a45350bafd6489e6", "tokenizer_config.json": "313870eed9237b7ec268b97bd853cd3a467da405793c9633bd59ee1510b6f4b5"}','f0a07c4fd69a71f32e57705e39fbc608f3d32122','2026-11-26T14:11:01.308815+00:00');
INSERT INTO "releases" VALUES('demo-1','best-language','ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392','shoal-demo/demo-best-language','{"README.md": "dc37d15353fded66a80e67ea1cc413464cb58150cbb669bc6ca3ddf8fdff87d3", "config.json": "45edf6b8c055e94ce5bc5b27f5e9c2201f077011112699e80db76fc8827aa85a", "generation_config.json": "3a9a3bcef10c3a0e7c0171609111610f0e28f35c98726b25fa078df6a6c08c00", "mergekit_config.yml": "a46f19146ba9ecc163af4db1c01dd5b4a27d962acc0e4897588fd2613d8c4ffc", "model.safetensors": "cf1a494bf2bc3283c5fab2b4380321cfc9f43b08703fd7a41542172436748619", "pareto.png": "79698c43c44910674b5222fd3dc165c0d5d6b5e9e51b1d50795192a7aebc26d4", "progress.png": "95f619695e51be13a6ca8bdc0ceddb3d84dfdcf3c3952c3c1ff8d2bfde5d7782", "shoal.json": "c6f0125fb6b26b50ccbcac38dea7e9b9340942edb03d04e6aa593513339983cd", "tokenizer.json": "a5c9277af0d4f75967fb67335483332582a8212be8396dd5a45350bafd6489e6", "tokenizer_config.json": "313870eed9237b7ec268b97bd853cd3a467da405793c9633bd59ee1510b6f4b5"}','f8f2b002c6dbc488eee0f2f5f18068f08004b0a7','2026-11-26T14:11:01.805025+00:00');
CREATE TABLE sources (
	cycle VARCHAR NOT NULL, 
	repo VARCHAR NOT NULL, 
	sha VARCHAR NOT NULL, 
	role VARCHAR NOT NULL, 
	licence VARCHAR NOT NULL, 
	PRIMARY KEY (cycle, repo), 
	FOREIGN KEY(cycle) REFERENCES cycles (id)
);
INSERT INTO "sources" VALUES('demo-1','abacus-works/minnow-math','ef47366268c7d963865cc68fea094c056f059a7b','source','mit');
INSERT INTO "sources" VALUES('demo-1','kotoba-lab/minnow-kotoba','dbb15b545be90239b8b3c1f30a9828a0149de3a4','source','apache-2.0');
INSERT INTO "sources" VALUES('demo-1','tidepool/minnow-base','b555d50eace88e24934227fc45fa5043376ef57e','base','apache-2.0');
CREATE TABLE stages (
	cycle VARCHAR NOT NULL, 
	stage VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY (cycle, stage), 
	FOREIGN KEY(cycle) REFERENCES cycles (id)
);
INSERT INTO "stages" VALUES('demo-1','watchlist','{"name": "demo", "watch": {"tags": ["shoal-zoo"], "search": null, "authors": {"allow": [], "deny": []}, "licences": null, "pipeline_tag": "text-generation", "parameters": {"min": 10000, "max": 10000000}, "max_bytes": 100000000, "downloads_min": 0, "max_age_days": null, "architectures": [], "max_candidates": 100}, "pinned": [], "base": "auto", "max_sources": 4, "noncommercial": false, "skills": [{"name": "math", "tasks": [{"task": "zoo_math_en", "metric": "acc", "filter": null, "weight": 1.0, "num_fewshot": null}], "chat_template": false, "language": null}, {"name": "language", "tasks": [{"task": "zoo_translation", "metric": "exact_match", "filter": "statement", "weight": 1.0, "num_fewshot": null}], "chat_template": false, "language": null}, {"name": "cross", "tasks": [{"task": "zoo_math_ja", "metric": "acc", "filter": null, "weight": 1.0, "num_fewshot": null}], "chat_template": false, "language": null}], "task_folders": ["zoo/tasks"], "items": {"search": 200, "validation": 400, "report": 500}, "search": {"space": "parameter", "dataflow": {"models": 3, "repeats": 2, "min_layers": null, "max_layers": null, "ends": "free", "scales": true, "share": 0.5, "smaller": false}, "method": "task_arithmetic", "groups": {"layers": 2, "modules": "apart", "ends": "apart"}, "dtype": "float32", "population": 20, "budget": {"candidates": 200, "minutes": null}, "racing": {"rounds": 5, "confidence": 0.95}, "seed": 1, "step": 0.05}, "workers": {"count": null, "threads": null, "device": "auto", "batch_size": null, "timeout": null}, "gate": {"confidence": 0.95, "minimum": {}, "max_degenerate": 0.02}, "publish": {"mode": "auto", "namespace": "shoal-demo", "name": "{watchlist}-{role}", "private": false, "collection": "Merges of the shoal demo", "max_releases": 3}, "schedule": {"cron": "0 6 * * *", "timezone": "UTC"}}');
INSERT INTO "stages" VALUES('demo-1','pool','{"base": null, "sources": [], "verdicts": [], "lineage": [], "licence": {"id": "apache-2.0", "name": null, "link": null, "notices": ["This model is made from abacus-works/minnow-math (mit), tidepool/minnow-base (apache-2.0), kotoba-lab/minnow-kotoba (apache-2.0); their copyright notices and licences apply."], "name_prefix": null}, "layers": 2, "noncommercial": false}');
INSERT INTO "stages" VALUES('demo-1','exams','["f198c9a8a279bb41746d1cdb526ba98f0b625f6b21ec9ac05c8b5bfcba168836", "f1b4b0aff0fdb4a3ea989aa15fcf89eb151d9b0e9e889f71c53e3a0487191a3b", "fcf785d795bd4edfdb54d330c43423a244767fd666b79eef50719392096ee3d5"]');
INSERT INTO "stages" VALUES('demo-1','search','{"candidates": 987, "failed": 0, "generations": [[960, 0.5135155350000001], [980, 0.5160944975000001], [987, 0.5160944975000001]], "points": [[1.0, 0.1, 0.01], [0.505, 1.0, 0.465], [0.935, 0.62, 0.555]], "front": ["8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59", "ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392"], "seconds": 36.36863979400013, "stopped": "the budget of 200 candidates is spent", "reasons": [], "fully_scored": 133, "item_scores": 119979}');
INSERT INTO "stages" VALUES('demo-1','gate','[{"recipe": "8ad50d5b3c24adf1dccf45be08826e169bf0845f83d727ac9c3d0135d4a27a59", "scores": [0.995, 0.985, 0.89], "passed": true, "reason": "beats every rival in some skill; the closest is linear mean (+0.147 in cross, p = 6.2e-14)", "p_value": 6.17884649695144e-14, "alpha": 0.00416666666666667, "comparisons": [{"rival": "linear mean", "skill": "math", "difference": 0.0575, "low": 0.03516408335966617, "high": 0.0862658839616461, "p_value": 2.823770046234131e-06}, {"rival": "linear mean", "skill": "language", "difference": 0.0075, "low": -0.008736036688346754, "high": 0.025805250716557565, "p_value": 0.25390625}, {"rival": "linear mean", "skill": "cross", "difference": 0.1475, "low": 0.11153950973131715, "high": 0.18817687963190333, "p_value": 2.0596154989838134e-14}, {"rival": "task_arithmetic, weight 1", "skill": "math", "difference": 0.2975, "low": 0.2533555989554839, "high": 0.34488467071754014, "p_value": 7.1723963309772695e-34}, {"rival": "task_arithmetic, weight 1", "skill": "language", "difference": 0.76, "low": 0.7157996038602141, "high": 0.7992540030871897, "p_value": 3.068183415811079e-92}, {"rival": "task_arithmetic, weight 1", "skill": "cross", "difference": 0.8775, "low": 0.8403512166284053, "high": 0.9065369402010265, "p_value": 1.9293667627044933e-104}, {"rival": "abacus-works/minnow-math", "skill": "math", "difference": -0.005, "low": -0.018044918435848562, "high": 0.004559855805614461, "p_value": 1.0}, {"rival": "abacus-works/minnow-math", "skill": "language", "difference": 0.88, "low": 0.8444860470601635, "high": 0.9082846092460749, "p_value": 1.0900377190420866e-106}, {"rival": "abacus-works/minnow-math", "skill": "cross", "difference": 0.88, "low": 0.8430846102932261, "high": 0.9087365622990182, "p_value": 9.674084756498518e-105}, {"rival": "kotoba-lab/minnow-kotoba", "skill": "math", "difference": 0.52, "low": 0.47108291490403653, "high": 0.5685365933226424, "p_value": 2.4308653429145085e-63}, {"rival": "kotoba-lab/minnow-kotoba", "skill": "language", "difference": -0.015, "low": -0.03233463358441441, "high": -0.00534502125104609, "p_value": 1.0}, {"rival": "kotoba-lab/minnow-kotoba", "skill": "cross", "difference": 0.4975, "low": 0.4455380314920967, "high": 0.5481384778959635, "p_value": 3.944753003034632e-54}, {"rival": "tidepool/minnow-base", "skill": "math", "difference": 0.0425, "low": 0.02250184860715308, "high": 0.06863096394378317, "p_value": 0.000110626220703125}, {"rival": "tidepool/minnow-base", "skill": "language", "difference": 0.2925, "low": 0.24932657899934385, "high": 0.3393036390054043, "p_value": 1.8055593228630336e-34}, {"rival": "tidepool/minnow-base", "skill": "cross", "difference": 0.34, "low": 0.28894156551739814, "high": 0.39166922150405303, "p_value": 2.0571158713070923e-32}]}, {"recipe": "ab6fcc8060da4b6fb6c6c6d3586f9fc8a6921b7725ac132f41c24c46e57c7392", "scores": [0.97, 0.995, 0.8325], "passed": true, "reason": "beats every rival in some skill; the closest is linear mean (+0.090 in cross, p = 1.1e-06)", "p_value": 1.0932646165029425e-06, "alpha": 0.025000000000000022, "comparisons": [{"rival": "linear mean", "skill": "math", "difference": 0.0325, "low": 0.00866839362056453, "high": 0.059902490655620116, "p_value": 0.007316648960113525}, {"rival": "linear mean", "skill": "language", "difference": 0.0175, "low": 0.00782124051521123, "high": 0.03567707292520482, "p_value": 0.0078125}, {"rival": "linear mean", "skill": "cross", "difference": 0.09, "low": 0.05638531530739784, "high": 0.12746100777836544, "p_value": 3.6442153883431416e-07}, {"rival": "task_arithmetic, weight 1", "skill": "math", "difference": 0.2725, "low": 0.22696262987600452, "high": 0.3206675791282055, "p_value": 1.5237817977223384e-27}, {"rival": "task_arithmetic, weight 1", "skill": "language", "difference": 0.77, "low": 0.7263071915794354, "high": 0.8085561694809167, "p_value": 1.9176146348819244e-93}, {"rival": "task_arithmetic, weight 1", "skill": "cross", "difference": 0.82, "low": 0.7783058497491404, "high": 0.8549664439849219, "p_value": 1.513315306057732e-97}, {"rival": "abacus-works/minnow-math", "skill": "math", "difference": -0.03, "low": -0.05169853570877421, "high": -0.017243020965279354, "p_value": 1.0}, {"rival": "abacus-works/minnow-math", "skill": "language", "difference": 0.89, "low": 0.8555490895385993, "high": 0.9170313208808056, "p_value": 6.812735744013041e-108}, {"rival": "abacus-works/minnow-math", "skill": "cross", "difference": 0.8225, "low": 0.7809742880284352, "high": 0.8572419854110557, "p_value": 7.589436278114306e-98}, {"rival": "kotoba-lab/minnow-kotoba", "skill": "math", "difference": 0.495, "low": 0.4462844807833244, "high": 0.5438106421605973, "p_value": 2.4892061111444567e-60}, {"rival": "kotoba-lab/minnow-kotoba", "skill": "language", "difference": -0.005, "low": -0.018044918435848562, "high": 0.004559855805614461, "p_value": 1.0}, {"rival": "kotoba-lab/minnow-kotoba", "skill": "cross", "difference": 0.44, "low": 0.39018149079100123, "high": 0.49012018908499166, "p_value": 1.6393424535385673e-49}, {"rival": "tidepool/minnow-base", "skill": "math", "difference": 0.0175, "low": -0.009430761318249097, "high": 0.04599422736014959, "p_value": 0.132465448230505}, {"rival": "tidepool/minnow-base", "skill": "language", "difference": 0.3025, "low": 0.25953936408416434, "high": 0.3492179921775391, "p_value": 3.76158192263132e-37}, {"rival": "tidepool/minnow-base", "skill": "cross", "difference": 0.2825, "low": 0.2279422783108066, "high": 0.3369185973670096, "p_value": 1.2173478697886483e-21}]}]');
INSERT INTO "stages" VALUES('demo-1','measured','[{"name": "balanced", "kind": "release", "scores": [{"mean": 0.9786666666666667, "low": 0.9584746665127393, "high": 0.9891512905763842, "n": 375}, {"mean": 0.984, "low": 0.9687488914666058, "high": 0.9918707469666117, "n": 500}, {"mean": 0.906, "low": 0.8772354441374409, "high": 0.9285735914077787, "n": 500}]}, {"name": "best-language", "kind": "release", "scores": [{"mean": 0.9546666666666667, "low": 0.9286064664737452, "high": 0.9715062114298512, "n": 375}, {"mean": 0.992, "low": 0.9796129641658948, "high": 0.9968846848199377, "n": 500}, {"mean": 0.854, "low": 0.8203507337796904, "high": 0.8822512331735307, "n": 500}]}, {"name": "linear mean", "kind": "plain merge", "scores": [{"mean": 0.9146666666666666, "low": 0.8820168376413414, "high": 0.9389070416197097, "n": 375}, {"mean": 0.978, "low": 0.9610391387886836, "high": 0.9876719917300725, "n": 500}, {"mean": 0.804, "low": 0.7669425076136408, "high": 0.8364218933857356, "n": 500}]}, {"name": "task_arithmetic, weight 1", "kind": "plain merge", "scores": [{"mean": 0.6906666666666667, "low": 0.6421488187619128, "high": 0.7353177881008858, "n": 375}, {"mean": 0.264, "low": 0.22726783141305193, "high": 0.3043308572848008, "n": 500}, {"mean": 0.036, "low": 0.022891060980292723, "high": 0.05618432696802775, "n": 500}]}, {"name": "abacus-works/minnow-math", "kind": "source", "scores": [{"mean": 1.0, "low": 0.9898599830318142, "high": 1.0, "n": 375}, {"mean": 0.082, "low": 0.06101908946846895, "high": 0.10935485915738874, "n": 500}, {"mean": 0.012, "low": 0.005510995174027701, "high": 0.02593036111644729, "n": 500}]}, {"name": "kotoba-lab/minnow-kotoba", "kind": "source", "scores": [{"mean": 0.44533333333333336, "low": 0.39583759295864657, "high": 0.4959377155632086, "n": 375}, {"mean": 1.0, "low": 0.9923756595384479, "high": 1.0, "n": 500}, {"mean": 0.436, "low": 0.39318560312305606, "high": 0.47979031245602277, "n": 500}]}, {"name": "tidepool/minnow-base", "kind": "base", "scores": [{"mean": 0.952, "low": 0.9254084243178899, "high": 0.9694250003428699, "n": 375}, {"mean": 0.696, "low": 0.6543133215963362, "high": 0.7346979369427353, "n": 500}, {"mean": 0.572, "low": 0.5282438503629423, "high": 0.6146582446105942, "n": 500}]}]');
CREATE INDEX ix_cycles_watchlist ON cycles (watchlist);
CREATE INDEX releases_by_recipe ON releases (recipe, repo);
COMMIT;
